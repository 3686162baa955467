import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from satlens.errors import InputError
from satlens.order import paper_tau, strict_tau
from tests.order.planted import make_events

L = 6
LAYERS = st.tuples(st.integers(1, 12), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, L - 1))
)


def tau_of(row):
    pairs = [(a, b) for i, a in enumerate(row) for b in row[i + 1 :]]
    concordant = sum(a < b for a, b in pairs)
    return (concordant - (len(pairs) - concordant)) / len(pairs)


def kept_ranks(row):
    kept = list(row)
    while kept and kept[-1] == L - 1:
        kept.pop()
    return len(kept)


@settings(max_examples=80, deadline=None)
@given(LAYERS)
def test_strict_tau_is_the_pair_loop(layer):
    expected = [tau_of(row) for row in layer]
    np.testing.assert_allclose(strict_tau(make_events(layer, L)), expected)


@settings(max_examples=80, deadline=None)
@given(LAYERS)
def test_paper_tau_is_its_protocol_step_by_step(layer):
    result = paper_tau(make_events(layer, L), draws=5)
    early = [row for row in layer if row[0] <= int(0.85 * L)]
    taus = [tau_of(row[: kept_ranks(row)]) for row in early if kept_ranks(row) >= 3]
    assert (result.tokens, result.filtered, result.kept) == (len(layer), len(early), len(taus))
    assert result.tau == pytest.approx(np.mean(taus)) if taus else np.isnan(result.tau)
    for rank in range(layer.shape[1]):
        places = [1 + sum(s < row[rank] for s in row) for row in early if row[rank] < L - 1]
        found = result.place[rank]
        assert found == pytest.approx(np.mean(places)) if places else np.isnan(found)


def test_paper_permutation_p_is_that_of_shuffled_rows():
    rng = np.random.default_rng(0)
    layer = np.sort(rng.integers(0, L, (12, 5)), axis=1)
    layer[::2] = rng.permuted(layer[::2], axis=1)
    result = paper_tau(make_events(layer, L), draws=4000)
    rows = [row for row in layer if row[0] <= int(0.85 * L) and kept_ranks(row) >= 3]
    lengths = [kept_ranks(row) for row in rows]
    slow = [
        np.mean([tau_of(rng.permutation(row)[:m]) for row, m in zip(rows, lengths, strict=True)])
        for _ in range(4000)
    ]
    hits = (np.array(slow) >= result.tau - 1e-9).sum()
    assert 0.001 < result.p < 0.5
    assert stats.fisher_exact([[hits, 4000 - hits], [round(result.p_published * 4000), 4000 - round(
        result.p_published * 4000)]]).pvalue > 0.001  # fmt: skip
    assert result.p == pytest.approx((result.p_published * 4000 + 1) / 4001)


def test_neighbouring_places_are_compared_by_independent_t_tests():
    layer = np.random.default_rng(0).integers(0, L - 1, (40, 3))
    result = paper_tau(make_events(layer, 20), draws=1)
    place = stats.rankdata(layer, method="min", axis=1)
    for i in range(2):
        expected = stats.ttest_ind(place[:, i], place[:, i + 1])
        assert (result.t[i], result.t_p[i]) == pytest.approx(tuple(expected))


def test_nothing_left_after_filter_and_cut_gives_nan():
    result = paper_tau(make_events(np.full((4, 5), L - 1), L))
    assert result.kept == 0 and np.isnan([result.tau, result.p]).all()
    assert np.isnan(result.place).all()


def test_the_interval_of_the_published_tau_is_over_documents():
    ordered, reversed_ = [[0, 1, 2]] * 3, [[2, 1, 0]] * 3
    layer = np.array([*ordered, *reversed_] * 10)
    whole = paper_tau(make_events(layer, L, doc=np.arange(60) // 6)).interval
    assert (whole.value, whole.low, whole.high) == (0.0, 0.0, 0.0)  # every document says the same
    apart = paper_tau(make_events(layer, L, doc=np.arange(60) // 3)).interval
    assert apart.value == 0.0 and apart.documents == 20
    # A mean of 20 numbers that are -1 or 1.
    assert apart.high == pytest.approx(-apart.low, abs=0.11)
    assert 0.3 < apart.high < 0.55
    dropped = np.concatenate([layer, np.full((30, 3), L - 1)])  # all cut: neither tau nor documents
    doc = np.concatenate([np.arange(60) // 3, np.arange(100, 130)])
    assert paper_tau(make_events(dropped, L, doc=doc)).interval == apart
    assert np.isnan(paper_tau(make_events(np.full((4, 5), L - 1), L)).interval.low)
    assert np.isnan(paper_tau(make_events(layer, L, doc=np.zeros(60, int))).interval.low)


def test_the_published_statistic_says_that_it_is_not_sound():
    assert "anti-conservative" in paper_tau.__doc__
    assert "anti-conservative" in paper_tau(make_events([[0, 1, 2]], 4)).note


def test_one_rank_has_no_order():
    events = make_events([[0], [1]], L)
    with pytest.raises(
        InputError, match="strict_tau compares ranks and needs k >= 2; .* k=1. Detect"
    ):
        strict_tau(events)
    with pytest.raises(InputError, match="paper_tau compares ranks"):
        paper_tau(events)


def test_unusable_settings_are_refused():
    with pytest.raises(InputError, match=r"max_layer_share in \(0, 1\] and min_ranks of 2 or more"):
        paper_tau(make_events([[0, 1]], L), max_layer_share=0.0)
    with pytest.raises(InputError, match="strict_tau got events without tokens"):
        strict_tau(make_events([[0, 1]], L)[:0])
