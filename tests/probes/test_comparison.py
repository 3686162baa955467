import numpy as np
import pytest

from satlens.probes.collect import Collected
from satlens.probes.comparison import Pairing, compare, run_controls
from satlens.probes.controls import NAMES
from satlens.probes.crossval import document_folds, out_of_fold
from satlens.probes.probe import StageProbe
from satlens.probes.sampling import StageSampler
from satlens.probes.scores import Predictions, balanced_of
from satlens.resampling import document_weights
from tests.probes.planted import noise_stream, planted_events, stage_stream


def made_up(rng, right, m=3, documents=20, n=300):
    """Predictions of which a share is right."""
    doc, stage = rng.integers(0, documents, n), rng.integers(1, m + 1, n)
    wrong = (stage + rng.integers(1, m, n) - 1) % m + 1
    predicted = np.where(rng.random(n) < right, stage, wrong)
    score = np.eye(m, dtype=np.float32)[predicted - 1]
    return Predictions(stage, predicted, score, np.zeros(n, int), doc)


@pytest.fixture
def pairings():
    rng = np.random.default_rng(0)
    probe, cut = made_up(rng, 0.7), made_up(rng, 0.68, documents=15)
    return {
        "layer": Pairing(probe, [made_up(rng, 0.35)]),
        "margin": Pairing(probe, [made_up(rng, 0.6)]),
        "control_task": Pairing(probe, [made_up(rng, 0.9) for _ in range(2)]),
        "rotated": Pairing(cut, [made_up(rng, 0.57, documents=25) for _ in range(3)]),
    }


def accuracy(found, documents, w):
    return balanced_of(w @ found.sums(documents))


def test_every_number_is_that_of_a_plain_loop_over_draws(pairings):
    """Excess, and the strictest taken inside each draw, over the same documents."""
    controls, effect, strictest = compare(pairings, 3, draws=200, seed=5)
    documents = np.arange(25)
    weights = np.concatenate(list(document_weights(25, 200, seed=5)))

    def excess(name, w):
        one = pairings[name]
        mine = np.mean([accuracy(draw, documents, w) for draw in one.draws])
        return accuracy(one.probe, documents, w) - mine

    ones = np.ones(25)
    for name in pairings:
        drawn = [excess(name, w) for w in weights]
        found = controls[name]
        assert np.isclose(found.excess.value, excess(name, ones))
        assert np.allclose(
            [found.excess.low, found.excess.high], np.quantile(drawn, [0.025, 0.975])
        )
        assert np.allclose(
            found.values, [accuracy(d, documents, ones) for d in pairings[name].draws]
        )
        assert np.isclose(found.accuracy.value, np.mean(found.values))
        assert found.accuracy.low < found.accuracy.value < found.accuracy.high
        stages = [one.value for one in found.per_stage]
        assert np.isclose(np.mean(stages), found.accuracy.value)
    judged = ("layer", "margin", "rotated")
    drawn = [min(excess(name, w) for name in judged) for w in weights]
    assert np.isclose(effect.value, min(excess(name, ones) for name in judged))
    assert np.allclose([effect.low, effect.high], np.quantile(drawn, [0.025, 0.975]))
    assert strictest in ("margin", "rotated")


def test_the_control_task_is_no_part_of_the_verdict(pairings):
    controls, effect, strictest = compare(pairings, 3, draws=50)
    assert controls["control_task"].excess.value < 0 < effect.value
    assert [name for name, one in controls.items() if one.in_verdict] == [
        "layer",
        "margin",
        "rotated",
    ]
    assert strictest != "control_task"


def test_what_could_not_be_had_has_no_numbers(pairings):
    controls, *_ = compare(pairings, 3, draws=50)
    assert tuple(controls) == NAMES
    missing = controls["gaussian"].to_dict()
    assert missing["accuracy"] == {"value": None, "ci": None} == missing["excess"]
    assert (missing["draws"], missing["values"], missing["auc"]) == (0, [], None)
    assert not missing["in_verdict"] and len(missing["per_stage"]) == 3


def sample(make, seed, per_cell=30):
    rng = np.random.default_rng(seed)
    events = planted_events(rng)
    sampler = StageSampler(per_cell)
    features = rng.exponential(size=(len(events), 2)).astype(np.float32)
    sampler.update(make(rng, events), events, features)
    return sampler.finish()


def test_other_states_are_compared_on_equal_rows_and_one_set_of_folds(monkeypatch):
    real = sample(lambda *a: stage_stream(*a)[0], 0)
    draws = [sample(noise_stream, seed, per_cell=12) for seed in (1, 2)]
    data = real.balanced(3, 8)
    fold = document_folds(data.doc, data.stage)
    found = out_of_fold(StageProbe(), data.state, data.stage, data, fold)
    dealt = []

    def watching(probe, X, y, rows, fold):
        dealt.append(dict(zip(rows.doc.tolist(), fold.tolist(), strict=True)))
        return out_of_fold(probe, X, y, rows, fold)

    monkeypatch.setattr("satlens.probes.comparison.out_of_fold", watching)
    collected = Collected(real, {"rotated": draws}, {"untrained": "a", "exchanged": "b"})
    pairings, missing = run_controls(data, collected, found, fold, draws=2, min_states=8)
    assert missing == {"untrained": "a", "exchanged": "b"}
    one = pairings["rotated"]
    for drawn in one.draws:
        for layer in range(9):
            mine, theirs = (p.stage[p.layer == layer] for p in (one.probe, drawn))
            assert (np.bincount(mine, minlength=4) == np.bincount(theirs, minlength=4)).all()
    assert len(one.probe.stage) < len(data)
    a, b, c = dealt[-3:]
    assert all(a[d] == b[d] for d in set(a) & set(b)) and all(a[d] == c[d] for d in set(a) & set(c))
    for name in ("layer", "shuffled", "margin", "identity", "control_task", "gaussian"):
        assert pairings[name].probe is found
        assert all((p.doc == found.doc).all() for p in pairings[name].draws)
        assert len(pairings[name].draws) == (
            2 if name in ("shuffled", "control_task", "gaussian") else 1
        )


def test_a_control_without_enough_states_is_missing_with_the_reason():
    real = sample(lambda *a: stage_stream(*a)[0], 0)
    data = real.balanced(3, 8)
    fold = document_folds(data.doc, data.stage)
    found = out_of_fold(StageProbe(), data.state, data.stage, data, fold)
    few = sample(noise_stream, 1, per_cell=3)
    collected = Collected(real, {"untrained": [few], "rotated": [few]}, {"exchanged": "no donor"})
    pairings, missing = run_controls(data, collected, found, fold, draws=1, min_states=8)
    assert list(missing) == ["exchanged", "untrained", "rotated"] and "layer" in pairings
    assert missing["rotated"].startswith(
        "No layer has 8 states of every stage 1 to 3 in each of the 2"
    )
