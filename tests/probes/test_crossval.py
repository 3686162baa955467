import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from satlens.errors import InputError
from satlens.probes.crossval import cross_validate, document_folds, out_of_fold
from satlens.probes.probe import StageProbe, normalised
from satlens.probes.sampling import StageSampler
from satlens.probes.scores import Predictions, Probed
from tests.probes.planted import few, noise_stream, planted_events, stage_stream


def a_sample(make=stage_stream, seed=0, per_cell=40, stages=3, min_states=10, **kw):
    rng = np.random.default_rng(seed)
    events = planted_events(rng, **kw)
    made = make(rng, events)
    sampler = StageSampler(per_cell)
    sampler.update(made[0] if isinstance(made, tuple) else made, events)
    return sampler.finish().balanced(stages, min_states)


@pytest.fixture(scope="module")
def data():
    return a_sample()


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(2, 6), st.integers(8, 30))
def test_no_document_is_on_both_sides(seed, folds, documents):
    rng = np.random.default_rng(seed)
    doc = rng.integers(0, documents, 400) * 7
    stage = rng.integers(1, 4, 400)
    if len(np.unique(doc)) < folds:
        return
    fold = document_folds(doc, stage, folds, seed)
    assert set(fold.tolist()) == set(range(folds))
    for number in range(folds):
        assert not set(doc[fold == number]) & set(doc[fold != number])


def test_no_probe_sees_a_document_it_is_asked_about(data):
    """By what the probe is given, not by what the folds promise."""

    class Remembering(StageProbe):
        def fit(self, X, y, layer=None):
            self.seen = set(X[:, 0].tolist())
            return super().fit(X, y, layer)

        def decision_function(self, X, layer=None):
            assert not self.seen & set(X[:, 0].tolist())
            asked.append(len(X))
            return super().decision_function(X, layer)

    asked = []
    marked = data.state.copy()
    marked[:, 0] = data.doc
    out_of_fold(Remembering(), marked, data.stage, data, document_folds(data.doc, data.stage))
    assert sum(asked) == len(data) and len(asked) == 5


def test_numbers_are_those_of_scikit_learn(data):
    found = cross_validate(data)
    made = found.predictions
    assert (made.stage == data.stage).all() and (made.doc == data.doc).all()
    assert np.isclose(found.accuracy.value, balanced_accuracy_score(made.stage, made.predicted))
    share = normalised(made.score).astype(float)
    share /= share.sum(1, keepdims=True)
    area = roc_auc_score(made.stage, share, multi_class="ovr", average="macro")
    assert np.isclose(found.auc, area, atol=1e-6)
    matrix = confusion_matrix(made.stage, made.predicted, normalize="true")
    assert np.allclose(found.confusion, matrix)
    assert np.allclose([one.value for one in found.per_stage], np.diag(matrix))
    for one in found.layers:
        rows = data.layer == one.layer
        expected = balanced_accuracy_score(made.stage[rows], made.predicted[rows])
        assert np.isclose(one.accuracy.value, expected) and one.states == rows.sum()
        assert one.accuracy.low <= one.accuracy.value <= one.accuracy.high


def test_predictions_are_those_of_probes_fitted_by_hand(data):
    found = cross_validate(data, StageProbe(C=0.1), folds=3, seed=4).predictions
    fold = document_folds(data.doc, data.stage, 3, 4)
    for number in range(3):
        train, test = fold != number, fold == number
        probe = StageProbe(C=0.1).fit(data.state[train], data.stage[train], data.layer[train])
        assert (probe.predict(data.state[test]) == found.predicted[test]).all()


def test_a_planted_stage_is_decoded_and_its_direction_found():
    directions = []

    def make(rng, events):
        resid, found = stage_stream(rng, events, strength=2.0)
        directions.extend(found)
        return resid

    data = a_sample(make, documents=300, per_cell=400)
    found = cross_validate(data)
    assert found.accuracy.low > 0.8 and found.auc > 0.93
    probe = StageProbe().fit(data.state, data.stage, data.layer)
    for stage in (1, 2, 3):
        rest = [directions[i] for i in (1, 2, 3) if i != stage]
        expected = directions[stage] - np.mean(rest, axis=0)
        assert probe.normal(stage) @ expected / np.linalg.norm(expected) > 0.95


@pytest.mark.parametrize("per_layer", [False, True])
def test_states_that_hold_nothing_give_chance(per_layer):
    found = cross_validate(a_sample(noise_stream), StageProbe(per_layer=per_layer))
    assert found.accuracy.low < found.chance < found.accuracy.high
    assert found.accuracy.high - found.accuracy.low < 0.2


def test_states_of_a_document_give_chance_only_if_the_document_is_kept_together():
    """Every document has its own noise and its own favourite stage: rows leak, documents do not."""

    def by_document(rng, events):
        return rng.standard_normal((1, 30, 24))[:, events.doc].repeat(events.n_layers, 0)

    data = a_sample(by_document)
    rng = np.random.default_rng(1)
    favourite = rng.integers(1, 4, 30)[data.doc]
    sound = out_of_fold(
        StageProbe(), data.state, favourite, data, document_folds(data.doc, data.stage)
    )
    rows = rng.integers(0, 5, len(data))
    leaking = out_of_fold(StageProbe(), data.state, favourite, data, rows)
    assert balanced_accuracy_score(favourite, leaking.predicted) > 0.9
    assert balanced_accuracy_score(favourite, sound.predicted) < 0.6


def test_an_interval_is_wide_where_documents_differ():
    """Half of the documents are read without a fault, half not at all."""
    n = 400
    doc, stage = np.repeat(np.arange(20), 20), np.tile([1, 2], 200)
    right = doc % 2 == 0
    score = np.eye(2)[np.where(right, stage, 3 - stage) - 1].astype(np.float32)
    together = Predictions(stage, score.argmax(1) + 1, score, np.zeros(n, int), doc)
    apart = Predictions(stage, score.argmax(1) + 1, score, np.zeros(n, int), np.arange(n))
    wide, narrow = (Probed.of(one).accuracy for one in (together, apart))
    assert wide.value == narrow.value == 0.5
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_everything_repeats_from_its_seed(data):
    first, again, other = (cross_validate(data, seed=seed, draws=50) for seed in (3, 3, 4))
    assert first.to_dict() == again.to_dict()
    folds = [document_folds(data.doc, data.stage, 5, seed).tolist() for seed in (3, 3, 4)]
    assert folds[0] == folds[1] != folds[2]
    assert (first.predictions.score != other.predictions.score).any()
    assert first.settings == {
        "folds": 5, "C": 1.0, "per_layer": False, "max_iter": 100, "draws": 50, "level": 0.95, "seed": 3
    }  # fmt: skip


def test_the_dictionary_has_the_form_of_results(data):
    found = json.loads(json.dumps(cross_validate(data, draws=50).to_dict(), allow_nan=False))
    assert list(found) == ["accuracy", "auc", "per_stage", "confusion", "layers"]
    assert list(found["accuracy"]) == ["value", "ci"] and len(found["per_stage"]) == 3
    assert np.allclose(np.sum(found["confusion"], axis=1), 1)
    assert list(found["layers"][0]) == ["layer", "accuracy", "states"]
    nothing = Probed.unavailable(3, "why").to_dict()
    json.dumps(nothing, allow_nan=False)
    assert nothing["accuracy"] == {"value": None, "ci": None} and len(nothing["per_stage"]) == 3


def test_too_little_is_refused_with_what_was_found(data):
    with pytest.raises(
        InputError, match="5 folds need at least 5 documents, .* are of 4. Give more"
    ):
        cross_validate(few(data, np.unique(data.doc)[:4]))
    with pytest.raises(InputError, match="of two stages or more; found .* all of stage 2"):
        cross_validate(data.take(data.stage == 2))
    two = np.flatnonzero(data.stage == 3)[:2]
    with pytest.raises(InputError, match="Stage 3 has 2 states, fewer than the 5 folds. Give more"):
        cross_validate(data.take(np.concatenate([np.flatnonzero(data.stage < 3), two])))
    with pytest.raises(InputError, match="folds must be at least 2, got 1"):
        cross_validate(data, folds=1)


def test_a_training_part_without_a_stage_is_refused(data):
    rows = (data.stage < 3) | (data.doc == data.doc[data.stage == 3][0])
    with pytest.raises(InputError) as caught:
        cross_validate(data.take(rows), folds=3)
    assert "has no state of stage 3: it holds " in str(caught.value)
    assert "Give more documents, ask for fewer stages, or lower folds." in str(caught.value)
    layer = int(data.layer[0])
    rows = (data.stage < 3) | (data.layer != layer) | (data.doc == data.doc[data.stage == 3][0])
    cross_validate(data.take(rows))
    with pytest.raises(InputError, match=f"has no state of stage 3 at layer {layer}: it holds"):
        cross_validate(data.take(rows), StageProbe(per_layer=True))
