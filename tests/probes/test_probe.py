import json
import warnings

import numpy as np
import pytest
import sklearn.base
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from satlens.errors import InputError
from satlens.probes.probe import StageProbe, equal_weights, normalised

D, STAGES = 16, 3


def a_problem(seed=0, n=900, d=D, strength=2.5):
    """Noise of uneven spread, and one direction a stage (in state coordinates)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(1, STAGES + 1, n)
    directions = np.linalg.qr(rng.standard_normal((d, d)))[0][: STAGES + 1]
    X = rng.standard_normal((n, d)) + strength * directions[y] + 5
    return X.astype(np.float32), y, rng.integers(2, 5, n), directions


def test_scores_are_those_of_scikit_learn_step_by_step():
    X, y, _, _ = a_problem()
    X, y = np.concatenate([X, X[y == 1]]), np.concatenate([y, y[y == 1]])  # uneven classes
    probe = StageProbe(C=0.3).fit(X, y)
    scaler = StandardScaler().fit(X)
    for column, stage in enumerate((1, 2, 3)):
        weight = len(y) / (3 * np.bincount(y))[y]
        plain = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(
            scaler.transform(X).astype(float), y == stage, sample_weight=weight
        )
        expected = plain.decision_function(scaler.transform(X))
        assert np.allclose(probe.decision_function(X)[:, column], expected, atol=5e-3)


def test_probabilities_are_normalised_sigmoids_also_far_out():
    X, y, _, _ = a_problem()
    probe = StageProbe().fit(X, y)
    sigmoid = 1 / (1 + np.exp(-probe.decision_function(X).astype(float)))
    assert np.allclose(probe.predict_proba(X), sigmoid / sigmoid.sum(1, keepdims=True), atol=1e-5)
    far = normalised(np.array([[-500.0, -400.0], [900.0, 900.0]]))
    assert np.allclose(far, [[0, 1], [0.5, 0.5]])
    assert (probe.predict(X) == probe.classes_[probe.predict_proba(X).argmax(1)]).all()


def test_the_normal_is_the_planted_direction_in_state_coordinates():
    """And where coordinates differ in spread, the scaler is undone."""
    rng = np.random.default_rng(0)
    X, y, layer, directions = a_problem(n=20_000, d=12)
    found = StageProbe().fit(X, y, layer)
    for stage in range(1, STAGES + 1):
        others = [directions[i] for i in range(1, STAGES + 1) if i != stage]
        expected = directions[stage] - np.mean(others, axis=0)
        assert found.normal(stage) @ expected / np.linalg.norm(expected) > 0.95
        assert np.isclose(np.linalg.norm(found.normal(stage)), 1)
    # The scaled states stay the same when states are stretched, so a normal is divided by the stretch.
    spread = np.exp(rng.normal(0, 0.5, 12))
    stretched = StageProbe().fit(X * spread, y, layer)
    for stage in range(1, STAGES + 1):
        expected = found.normal(stage) / spread
        assert stretched.normal(stage) @ expected / np.linalg.norm(expected) > 0.99
        step = stretched.decision_function((X[:9] * spread) + stretched.normal(stage))
        assert (
            step[:, stage - 1] > stretched.decision_function(X[:9] * spread)[:, stage - 1]
        ).all()


def test_one_regression_a_layer_is_that_of_the_layer_alone():
    X, y, layer, _ = a_problem()
    probe = StageProbe(per_layer=True).fit(X, y, layer)
    assert probe.layers_.tolist() == [2, 3, 4]
    for own in (2, 3, 4):
        rows = layer == own
        alone = StageProbe().fit(X[rows], y[rows])
        assert (probe.predict(X, layer)[rows] == alone.predict(X[rows])).all()
        assert np.allclose(probe.normal(2, own), alone.normal(2))


def test_every_stage_weighs_the_same_at_each_layer():
    rng = np.random.default_rng(0)
    y, layer = rng.integers(1, 4, 500), rng.integers(0, 3, 500)
    weight = equal_weights(y, layer)
    for at in range(3):
        sums = [weight[(layer == at) & (y == stage)].sum() for stage in (1, 2, 3)]
        assert np.allclose(sums, (layer == at).sum() / 3, rtol=1e-4)
    assert equal_weights(np.tile([1, 2], 10), np.zeros(20)) is None
    assert np.allclose(
        equal_weights(np.array([1, 1, 2, 1]), np.array([0, 0, 0, 1])), [0.75, 0.75, 1.5, 1]
    )


def test_the_layer_number_alone_tells_nothing_however_uneven_the_training():
    rng = np.random.default_rng(0)
    layer = rng.integers(0, 3, 900)
    y = np.where(rng.random(900) < 0.8, 1 + layer, rng.integers(1, 4, 900))
    X = np.eye(3, dtype=np.float32)[layer]
    informed = StageProbe().fit(X, y).score(X, y)
    assert informed > 0.8
    assert np.ptp(StageProbe().fit(X, y, layer).predict_proba(X), axis=1).max() < 0.01


def test_habits_of_scikit_learn():
    probe = StageProbe(C=2.0, per_layer=True)
    assert sklearn.base.clone(probe).get_params() == {"C": 2.0, "per_layer": True, "max_iter": 100}
    assert sklearn.base.is_classifier(probe)
    X, y, _, _ = a_problem()
    fitted = StageProbe().fit(X, y)
    assert 0.8 < fitted.score(X, y) < 1
    assert not hasattr(sklearn.base.clone(fitted), "coef_")
    few = np.flatnonzero(y == 1)[:10]
    kept = np.concatenate([np.flatnonzero(y != 1), few])
    assert fitted.score(X[kept], y[kept]) == np.mean(
        [(fitted.predict(X[kept])[y[kept] == i] == i).mean() for i in (1, 2, 3)]
    )


def test_nothing_is_changed_and_wide_states_stay_single():
    X, y, layer, _ = a_problem(d=300, n=400)
    before = X.copy()
    probe = StageProbe().fit(X, y, layer)
    assert np.array_equal(X, before) and probe.coef_.dtype == np.float32
    assert probe.decision_function(X).dtype == np.float32


def test_a_solver_that_stops_early_becomes_a_note():
    X, y, _, _ = a_problem(d=300, n=400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = StageProbe(max_iter=1).fit(X, y)
    assert len(probe.notes_) == 3 and probe.notes_[0].startswith(
        "stage 1: lbfgs failed to converge"
    )
    assert StageProbe().fit(X, y).notes_ == []


@pytest.mark.parametrize("per_layer", [False, True])
def test_a_loaded_probe_predicts_the_same_bit_for_bit(tmp_path, per_layer):
    X, y, layer, _ = a_problem()
    probe = StageProbe(C=0.7, per_layer=per_layer).fit(X, y, layer)
    probe.save(tmp_path / "a.probe")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.probe.json", "a.probe.safetensors"]
    for name in ("a.probe", "a.probe.json", "a.probe.safetensors"):
        again = StageProbe.load(tmp_path / name)
        assert (again.decision_function(X, layer) == probe.decision_function(X, layer)).all()
        assert (again.predict(X, layer) == probe.predict(X, layer)).all()
        assert again.get_params() == probe.get_params()
        assert (again.normal(2, 3) == probe.normal(2, 3)).all()


@pytest.fixture
def saved(tmp_path):
    X, y, _, _ = a_problem()
    StageProbe().fit(X, y).save(tmp_path / "p")
    return tmp_path


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))


TAMPER = {
    "a bit of the tensors": (
        lambda f: flip(f / "p.safetensors"), r"was written with: its SHA-256 is .* changed, cut short"
    ),
    "tensors cut short": (
        lambda f: (f / "p.safetensors").write_bytes((f / "p.safetensors").read_bytes()[:-8]),
        "changed, cut short or exchanged. Save the probe again",
    ),
    "tensors missing": (lambda f: (f / "p.safetensors").unlink(), "Cannot read .*p.safetensors: No such"),
    "json missing": (lambda f: (f / "p.json").unlink(), r"the pair NAME.safetensors and NAME.json"),
    "json cut short": (
        lambda f: (f / "p.json").write_text((f / "p.json").read_text()[:-9]), "p.json is no JSON"
    ),
    "classes edited": (lambda f: change(f / "p.json", classes=[3, 2, 1]), "was changed after it was written"),
    "foreign json": (lambda f: (f / "p.json").write_text("[1]"), "holds no probe of satlens: format is 'li"),
    "another format": (lambda f: change(f / "p.json", format="lens/2"), "format is 'lens/2', not 'sat"),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPER)
def test_a_changed_short_or_foreign_file_is_refused(saved, how):
    tamper, words = TAMPER[how]
    tamper(saved)
    with pytest.raises(InputError, match=words):
        StageProbe.load(saved / "p")


def test_tensors_of_another_shape_are_refused_even_with_fitting_sums(saved):
    """Whoever writes all the sums anew still cannot pass arrays that are no probe."""
    import hashlib

    from satlens.storage import digest

    said = json.loads((saved / "p.json").read_text())
    said["width"] = 17
    del said["sha256"]
    (saved / "p.json").write_text(json.dumps(said | {"sha256": digest(said)}))
    with pytest.raises(InputError, match="a probe of this kind holds"):
        StageProbe.load(saved / "p")
    (saved / "p.safetensors").write_bytes(b"\x80\x04pickle")
    said["tensors_sha256"] = hashlib.sha256(b"\x80\x04pickle").hexdigest()
    (saved / "p.json").write_text(json.dumps(said | {"sha256": digest(said)}))
    with pytest.raises(InputError, match="is no safetensors file"):
        StageProbe.load(saved / "p")


def test_an_error_while_writing_leaves_the_old_probe(saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    X, y, _, _ = a_problem(seed=1)
    probe = StageProbe().fit(X, y)
    monkeypatch.setattr("satlens.storage.json.dumps", _broken)
    with pytest.raises(KeyboardInterrupt):
        probe.save(saved / "p")
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def _broken(*_, **kw):
    if kw.get("indent"):
        raise KeyboardInterrupt
    return "{}"


X, Y, LAYER, _ = a_problem(n=60)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: StageProbe().fit(X, np.ones(60)), "found only 1 .60 states.. Give states of two stages"),
        (lambda: StageProbe().fit(X[0], Y), r"reads states \[n, d\]; got float32 of shape \(16,\)"),
        (lambda: StageProbe().fit(X, Y[:5]), r"y must have one entry a state, 60; got \(5,\)"),
        (lambda: StageProbe(C=0).fit(X, Y), "C must be above 0, got 0"),
        (lambda: StageProbe(per_layer=True).fit(X, Y), "the layer of every state is needed"),
        (lambda: StageProbe(per_layer=True).fit(X, Y, np.minimum(Y, 2)),
         "stages 1, 2, 3 was asked for; found only 1 at layer 1"),
        (lambda: StageProbe().fit(np.where(np.eye(60, 16), np.nan, X), Y), "16 of 60 states hold NaN"),
        (lambda: StageProbe().fit(X, Y).predict(X[:, :4]), "reads states of width 16; got 4"),
        (lambda: StageProbe().fit(X, Y).normal(7), "tells stages 1, 2, 3 apart; got 7"),
        (lambda: StageProbe(per_layer=True).fit(X, Y, LAYER).normal(1), "for layers 2, 3, 4; got layer=None"),
        (lambda: StageProbe(per_layer=True).fit(X, Y, LAYER).predict(X, LAYER + 1),
         "layers 2, 3, 4; asked for 5. Fit it on"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_was_found(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_probe_that_was_not_fitted_says_so(tmp_path):
    with pytest.raises(sklearn.exceptions.NotFittedError):
        StageProbe().predict(X)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        StageProbe().save(tmp_path / "p")
