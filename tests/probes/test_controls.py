import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from satlens.errors import InputError
from satlens.probes.controls import NAMES, SAME_ROWS, TokenProbe, scalar_moments
from satlens.probes.sampling import StageSampler
from tests.probes.planted import planted_events, stage_stream


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    events = planted_events(rng)
    sampler = StageSampler(40)
    features = rng.exponential(size=(len(events), 4)).astype(np.float32)
    sampler.update(stage_stream(rng, events)[0] + 2, events, features)
    return sampler.finish().balanced(3, 10)


def design(name, data, seed=0):
    return SAME_ROWS[name](data, np.random.default_rng(seed))


def test_names_are_those_of_the_results_in_their_order():
    assert NAMES == (
        "layer", "shuffled", "margin", "identity", "control_task", "gaussian",
        "untrained", "rotated", "exchanged",
    )  # fmt: skip


@pytest.mark.parametrize("name", SAME_ROWS)
def test_a_control_repeats_from_its_seed_and_leaves_the_states_alone(data, name):
    before = {one: getattr(data, one).copy() for one in ("state", "stage", "features", "layer")}
    X, y = design(name, data)
    again, same = design(name, data)
    assert abs(X - again).max() == 0 and (y == same).all() and X.shape[0] == len(y) == len(data)
    for one, values in before.items():
        assert (getattr(data, one) == values).all()


@pytest.mark.parametrize("name", ["layer", "margin", "identity", "gaussian"])
def test_inputs_that_are_no_states_keep_the_stages(data, name):
    X, y = design(name, data)
    assert (y == data.stage).all()
    assert (X.shape == data.state.shape) == (name == "gaussian")


def test_shuffled_stages_stay_at_their_layer(data):
    X, y = design("shuffled", data)
    assert X is data.state and (y != data.stage).mean() > 0.5
    for layer in np.unique(data.layer):
        rows = data.layer == layer
        assert (np.bincount(y[rows]) == np.bincount(data.stage[rows])).all()


def test_a_token_type_has_one_stage_in_the_control_task(data):
    _, y = design("control_task", data)
    for token in np.unique(data.input):
        assert len(set(y[data.input == token].tolist())) == 1
    assert (y != design("control_task", data, seed=1)[1]).any()
    shares = [
        np.bincount(design("control_task", data, seed)[1], minlength=4) for seed in range(200)
    ]
    assert np.allclose(np.mean(shares, axis=0)[1:] / len(data), 1 / 3, atol=0.03)


def test_identity_is_one_column_a_token_read_and_one_a_token_answered(data):
    X, _ = design("identity", data)
    assert (X.sum(1) == 2).all()
    same = (data.input == data.input[0]) & (data.top1 == data.top1[0])
    assert ((X @ X[[0]].T).toarray().ravel() == 2).tolist() == same.tolist()


def test_the_published_noise_has_one_mean_and_one_spread_a_stage(data):
    big = data.take(np.repeat(np.arange(len(data)), 20))
    X, _ = design("gaussian", big)
    assert X.dtype == np.float32
    for stage in (1, 2, 3):
        rows = np.flatnonzero(big.stage == stage)
        mean, spread = scalar_moments(big.state, rows)
        values = big.state[rows].astype(float)
        assert np.isclose(mean, values.mean()) and np.isclose(spread, values.std())
        assert np.allclose(X[rows].mean(0), mean, atol=0.15)
        assert np.allclose(X[rows].std(0), spread, atol=0.15)


def test_margins_come_alone_and_by_layer(data):
    X, _ = design("margin", data)
    layers = len(np.unique(data.layer))
    assert X.shape == (len(data), layers + 8 + 8 * layers)
    assert (X[:, layers : layers + 4] == data.features).all()
    with pytest.raises(InputError, match="collected without features"):
        design("margin", dataclasses.replace(data, features=data.features[:, :0]))


def test_the_control_task_needs_token_types(data):
    blind = dataclasses.replace(data, input=np.full(len(data), -1))
    with pytest.raises(InputError, match="a token type for each of 3 stages; there are 1."):
        design("control_task", blind)


def test_the_token_probe_is_a_plain_regression(data):
    X, y = design("identity", data)
    found = TokenProbe(C=0.5).fit(X, y, data.layer)
    for column, stage in enumerate((1, 2, 3)):
        plain = LogisticRegression(C=0.5, max_iter=500, tol=1e-8).fit(X.toarray(), y == stage)
        expected = plain.decision_function(X.toarray())
        assert np.allclose(found.decision_function(X)[:, column], expected, atol=0.02)
    assert found.notes_ == []
    assert TokenProbe(max_iter=1).fit(X, y, data.layer).notes_[0] == (
        "stage 1: the solver stopped at 1 steps"
    )
