import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from satlens.errors import InputError
from satlens.order import concordance
from tests.order.planted import layers_without_order, make_events

L = 5


def count(rows, i=None, j=None):
    """Concordant, tied, comparable, all: by the words of the definition."""
    concordant = tied = comparable = pairs = 0
    for row in rows:
        for a in range(len(row)):
            for b in range(a + 1, len(row)):
                if i is not None and (a, b) != (i, j):
                    continue
                pairs += 1
                if row[a] == L - 1 and row[b] == L - 1:
                    continue  # both censored
                comparable += 1
                concordant += row[a] < row[b]
                tied += row[a] == row[b]
    return concordant, tied, comparable, pairs


@settings(max_examples=80, deadline=None)
@given(
    arrays(
        np.int64, st.tuples(st.integers(1, 10), st.integers(2, 5)), elements=st.integers(0, L - 1)
    )
)
def test_concordance_is_the_pair_loop(layer):
    result = concordance(make_events(layer, L), draws=20)
    concordant, tied, comparable, pairs = count(layer)
    assert result.comparable.value == pytest.approx(comparable / pairs)
    if comparable == 0:
        assert np.isnan(result.estimate.value) and np.isnan(result.by_permutation.p)
        assert "every rank was seen fixed only at the output" in result.by_permutation.note
        return
    assert result.estimate.value == pytest.approx((concordant + tied / 2) / comparable)
    assert result.tied.value == pytest.approx(tied / comparable)
    for i in range(layer.shape[1]):
        for j in range(layer.shape[1]):
            c, t, n, _ = count(layer, i, j)
            value = result.pairs[i, j]
            assert value == pytest.approx((c + t / 2) / n) if n else np.isnan(value)


@settings(max_examples=30, deadline=None)
@given(arrays(np.int64, (6, 4), elements=st.integers(0, L - 1)))
def test_reversing_the_ranks_mirrors_the_concordance(layer):
    there = concordance(make_events(layer, L), draws=1).estimate.value
    back = concordance(make_events(layer[:, ::-1], L), draws=1).estimate.value
    if (layer == L - 1).all():
        assert np.isnan([there, back]).all()
    else:
        assert there + back == pytest.approx(1)


def planted(sign, seed=0):
    rng = np.random.default_rng(seed)
    layer, doc = layers_without_order(rng, documents=20, tokens=10, k=5, n_layers=12)
    return make_events(np.clip(layer + sign * np.arange(5), 0, 11), 12, doc)


def test_a_planted_order_is_found_and_its_reverse_is_negative():
    forward, backward = concordance(planted(1)), concordance(planted(-1))
    assert forward.estimate.low > 0.5 and backward.estimate.high < 0.5
    for test in (forward.by_documents, forward.by_permutation):
        assert test.p == pytest.approx(1 / 2001)
    for test in (backward.by_documents, backward.by_permutation):
        assert test.p == 1.0
    less = concordance(planted(-1), alternative="less")
    assert less.by_documents.p == less.by_permutation.p == pytest.approx(1 / 2001)
    assert less.by_documents.statistic < 0


def test_one_document_has_a_value_but_no_interval():
    result = concordance(make_events([[0, 1, 4], [2, 1, 4]], L, doc=[3, 3]))
    assert result.estimate.value == pytest.approx(5 / 6)
    assert np.isnan(result.estimate.low) and "at least 2 (found 1)" in result.estimate.note
    assert result.by_documents.p == 0.5  # two sign patterns, one as large


def test_documents_are_the_unit_of_the_interval():
    """Forty copies of every token change nothing when they lie in the same document."""
    rng = np.random.default_rng(0)
    layer = rng.integers(0, L, (12, 4))
    once = concordance(make_events(layer, L, doc=np.arange(12))).estimate
    copies = make_events(np.repeat(layer, 40, axis=0), L, doc=np.repeat(np.arange(12), 40))
    again = concordance(copies).estimate
    assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="concordance compares ranks and needs k >= 2"):
        concordance(make_events([[0]], L))
    with pytest.raises(InputError, match="alternative is 'more'"):
        concordance(make_events([[0, 1]], L), alternative="more")
