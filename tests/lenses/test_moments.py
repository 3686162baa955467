import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, NumericsError
from satlens.lenses.moments import Moments

PAIRS = [("a", "b"), ("a", "c"), ("b", "c")]


def vectors(rng, n, widths=(3, 2, 4), mean=0.0, scale=1.0):
    """Values of a, b and c, of different widths."""
    return {
        name: torch.from_numpy(mean + scale * rng.standard_normal((n, width)))
        for name, width in zip("abc", widths, strict=True)
    }


def part(values, rows):
    return {name: value[rows] for name, value in values.items()}


def assert_same(one: Moments, other: Moments, tolerance=1e-10):
    assert one.n == other.n and one.dtype == other.dtype
    for x, y in PAIRS:
        for name in ("mean_x", "mean_y", "xx", "yx"):
            a, b = getattr(one.pair(x, y), name), getattr(other.pair(x, y), name)
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


@given(st.integers(0, 2**31), st.integers(2, 60), st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_they_are_the_moments_of_numpy(seed, n, mean, scale):
    values = vectors(np.random.default_rng(seed), n, mean=mean, scale=scale)
    moments = Moments(PAIRS)
    moments.update(values)
    for x, y in PAIRS:
        pair = moments.pair(x, y)
        cov = np.cov(values[x].T, values[y].T, bias=True) * n
        d = values[x].shape[1]
        limit = 1e-9 * max(1.0, float(np.abs(cov).max()))
        assert np.allclose(pair.xx, cov[:d, :d], rtol=0, atol=limit)
        assert np.allclose(pair.yx, cov[d:, :d], rtol=0, atol=limit)
        assert np.allclose(pair.mean_y, values[y].mean(0))


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_a_stream_is_all_at_once_and_merged_is_together(seed, sizes):
    rng = np.random.default_rng(seed)
    values = vectors(rng, sum(sizes), mean=5.0)
    ends = np.cumsum(sizes)
    together, streamed, first, second = (Moments(PAIRS) for _ in range(4))
    together.update(values)
    for number, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        rows = slice(end - size, end)
        streamed.update(part(values, rows))
        (first if number % 2 else second).update(part(values, rows))
    first.merge(second)
    if sum(sizes):
        assert_same(streamed, together)
        assert_same(first, together)
    assert first.n == streamed.n == sum(sizes)


def test_pooled_pairs_are_one_stream_of_both():
    values = vectors(np.random.default_rng(0), 40, widths=(3, 3, 4), mean=2.0)
    moments, stream = Moments([("a", "c"), ("b", "c")]), Moments([("x", "y")])
    moments.update(values)
    for source in "ab":
        stream.update({"x": values[source], "y": values["c"]})
    pooled, want = moments.pair("a", "c").pooled(moments.pair("b", "c")), stream.pair("x", "y")
    for name in ("mean_x", "mean_y", "xx", "yx"):
        torch.testing.assert_close(getattr(pooled, name), getattr(want, name))
    assert pooled.n == 80


def test_nothing_is_lost_to_a_large_mean():
    """Raw sums of squares would keep three digits here."""
    values = vectors(np.random.default_rng(0), 1000, mean=1e6)
    moments = Moments(PAIRS)
    for rows in np.array_split(np.arange(1000), 7):
        moments.update(part(values, rows))
    want = np.cov(values["a"].T, bias=True) * 1000
    assert np.allclose(moments.pair("a", "b").xx, want, rtol=1e-8)


def test_the_narrowest_type_is_kept():
    values = {name: value.float() for name, value in vectors(np.random.default_rng(0), 5).items()}
    moments, other = Moments(PAIRS), Moments(PAIRS)
    moments.update(values)
    assert moments.dtype == torch.float32 and moments.pair("a", "b").xx.dtype == torch.float64
    other.update(values | {"c": values["c"].bfloat16()})
    moments.merge(other)
    assert moments.dtype == torch.bfloat16


def test_the_caller_keeps_its_arrays_and_a_merge_leaves_the_other():
    values = vectors(np.random.default_rng(0), 6)
    before = {name: value.clone() for name, value in values.items()}
    one, other = Moments(PAIRS), Moments(PAIRS)
    other.update(values)
    one.merge(other)
    one.update(values)
    assert other.n == 6 and one.n == 12
    assert all(torch.equal(values[name], before[name]) for name in values)
    fresh = Moments(PAIRS)
    fresh.update(values)
    assert_same(other, fresh, tolerance=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_and_nothing_is_added(bad):
    values = vectors(np.random.default_rng(0), 6)
    moments, fresh = Moments(PAIRS), Moments(PAIRS)
    moments.update(values)
    fresh.update(values)
    broken = {name: value.clone() for name, value in values.items()}
    broken["b"][2, 1] = bad
    with pytest.raises(
        NumericsError, match="NaN or infinite values at b: the weights or the inputs"
    ):
        moments.update(broken)
    assert_same(moments, fresh, tolerance=0)


def test_moments_of_other_pairs_are_not_merged():
    with pytest.raises(InputError, match="of 3 pairs and of 1 others cannot be merged"):
        Moments(PAIRS).merge(Moments([("a", "b")]))
