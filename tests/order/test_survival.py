import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from satlens.errors import InputError
from satlens.order import coverage, flips, survival
from tests.order.planted import make_events

L = 5
LAYERS = arrays(
    np.int64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, L - 1)
)


def test_kaplan_meier_by_hand():
    """Six tokens, L = 5: two fixed at 0, one at 2, one at 3, two censored at 4."""
    layer = np.array([[0], [0], [2], [3], [4], [4]])
    result = survival(make_events(layer, L), draws=50)
    by_hand = [4 / 6, 4 / 6, 4 / 6 * 3 / 4, 4 / 6 * 3 / 4 * 2 / 3, 4 / 6 * 3 / 4 * 2 / 3]
    np.testing.assert_allclose(result.curve.value[0], by_hand)
    assert result.median.value.tolist() == [2.0]
    assert result.mean.value[0] == pytest.approx((0 + 0 + 2 + 3 + 4 + 4) / 6)


@settings(max_examples=60, deadline=None)
@given(LAYERS)
def test_curve_median_and_mean_are_counts(layer):
    """All censoring at the last layer: the product-limit curve is a share, which the bands use."""
    result = survival(make_events(layer, L), draws=10)
    for i in range(layer.shape[1]):
        shares = [np.mean(layer[:, i] > l) for l in range(L - 1)]  # noqa: E741
        np.testing.assert_allclose(result.curve.value[i], [*shares, shares[-1]], atol=1e-12)
        below = [l for l in range(L - 1) if shares[l] <= 0.5]  # noqa: E741
        assert result.median.value[i] == (below[0] if below else np.inf)
    np.testing.assert_allclose(result.mean.value, layer.mean(0), atol=1e-12)
    low, high = result.curve.low, result.curve.high
    assert len(layer) == 1 or ((low <= high).all() and (low >= 0).all() and (high <= 1).all())


def test_all_censored_and_a_model_of_one_layer():
    never = survival(make_events(np.full((4, 2), L - 1), L), draws=10)
    assert (never.curve.value == 1).all() and np.isinf(never.median.value).all()
    assert (never.median.low == np.inf).all() and (never.mean.value == L - 1).all()
    single = survival(make_events(np.zeros((4, 2), int), 1), draws=10)
    assert single.curve.value.tolist() == [[1.0], [1.0]] and single.mean.value.tolist() == [
        0.0,
        0.0,
    ]


def test_bands_hold_documents_together():
    rng = np.random.default_rng(0)
    layer = rng.integers(0, L, (10, 2))
    once = survival(make_events(layer, L), draws=200).curve
    doc = np.repeat(np.arange(10), 30)
    copies = survival(make_events(np.repeat(layer, 30, axis=0), L, doc), draws=200).curve
    np.testing.assert_allclose(copies.low, once.low, atol=1e-12)
    np.testing.assert_allclose(copies.high, once.high, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(LAYERS)
def test_coverage_is_counts(layer):
    result = coverage(make_events(layer, L), draws=10)
    np.testing.assert_allclose(result.covered.value, (layer < L - 1).mean(0))
    np.testing.assert_allclose(result.censored.value, (layer == L - 1).mean(0))
    np.testing.assert_allclose(result.mean_layer.value, layer.mean(0))


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, (6, L, 2), elements=st.integers(0, 3)))
def test_flips_is_the_loop_over_layers(top):
    final = top[:, -1]
    layer = np.zeros((6, 2), int)
    lost, changes = np.zeros((6, 2)), np.zeros((6, 2))
    for token in range(6):
        for i in range(2):
            held = [bool(t == final[token, i]) for t in top[token, :, i]]
            layer[token, i] = max([l + 1 for l in range(L) if not held[l]], default=0)  # noqa: E741
            lost[token, i] = True in held[: held.index(False)] or any(
                held[a] and not held[b] for b in range(L) for a in range(b)
            ) if False in held else False  # fmt: skip
            changes[token, i] = sum(top[token, l, i] != top[token, l - 1, i] for l in range(1, L))  # noqa: E741
    events = make_events(layer, L, top=top)
    events = type(events)(layer, final, events.doc, events.pos, L, top=top)
    result = flips(events, draws=10)
    np.testing.assert_allclose(result.lost.value, lost.mean(0))
    np.testing.assert_allclose(result.changes.value, changes.mean(0))


def test_flips_without_a_trajectory_says_what_to_do():
    with pytest.raises(InputError, match="detect again with trajectory=True"):
        flips(make_events([[0]], L))


@pytest.mark.parametrize("question", [survival, coverage, flips])
def test_no_tokens_is_an_error(question):
    with pytest.raises(InputError, match=f"{question.__name__} got events without tokens"):
        question(make_events([[0]], L)[:0])
