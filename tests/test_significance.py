from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from satlens.errors import InputError
from satlens.significance import holm, permutation_p, sign_flip


def test_p_is_never_zero_and_counts_ties_as_hits():
    drawn = np.array([0.0, 0.1, 0.2])
    assert permutation_p(5.0, drawn, "greater") == 0.25
    assert permutation_p(0.1 + 1e-15, drawn, "greater") == 0.75
    assert permutation_p(5.0, drawn, "less") == 1.0
    assert permutation_p(5.0, drawn, "two-sided") == 0.5


def test_sign_flip_is_exact_for_few_documents():
    values = np.array([0.3, -0.1, 0.25, 0.4, 0.05])
    means = [np.mean(np.multiply(signs, values)) for signs in product([1, -1], repeat=5)]
    result = sign_flip(values)
    assert result.exact and result.draws == 32
    assert result.p == pytest.approx(np.mean(np.array(means) >= values.mean() - 1e-12))
    assert sign_flip(values, alternative="less").p == pytest.approx(
        np.mean(np.array(means) <= values.mean() + 1e-12)
    )


def test_drawn_sign_flips_agree_with_exact_ones(monkeypatch):
    values = np.random.default_rng(0).normal(0.2, 1, 12)
    exact = sign_flip(values).p
    monkeypatch.setattr("satlens.significance.EXACT_DOCUMENTS", 5)
    drawn = sign_flip(values, draws=20_000)
    assert not drawn.exact and drawn.p == pytest.approx(exact, abs=0.015)


def test_sign_flip_of_nothing_and_of_an_unknown_side():
    empty = sign_flip(np.array([np.nan]))
    assert np.isnan(empty.p) and "no document has anything to compare" in empty.note
    with pytest.raises(InputError, match="alternative is 'up'; it must be 'greater'"):
        sign_flip(np.ones(3), alternative="up")


def stepped_down(p):
    """Holm as a procedure: at every level, which hypotheses fall; the adjusted p is the least level."""
    levels = sorted({min(1.0, m * one) for one in p for m in range(1, len(p) + 1)} | {1.0})
    adjusted = [1.0] * len(p)
    for level in reversed(levels):
        left = sorted(range(len(p)), key=lambda i: p[i])
        while left and p[left[0]] * len(left) <= level * (1 + 1e-12):
            adjusted[left.pop(0)] = level
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=0, max_size=7))
def test_holm_is_the_stepped_down_procedure(p):
    np.testing.assert_allclose(holm(np.array(p)), stepped_down(p), atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(0, 9))
def test_what_is_no_test_does_not_count(p, at):
    with_hole = np.insert(np.array(p), min(at, len(p)), np.nan)
    found = holm(with_hole)
    assert np.isnan(found[min(at, len(p))])
    np.testing.assert_array_equal(found[~np.isnan(found)], holm(np.array(p)))
    assert (holm(np.array(p)) >= p).all()


def test_holm_keeps_any_false_one_as_rare_as_one():
    rng = np.random.default_rng(4)
    p = np.column_stack([rng.uniform(size=(2000, 8)), rng.uniform(0, 1e-3, size=(2000, 4))])
    false = sum((holm(row)[:8] < 0.05).any() for row in p)
    assert stats.binomtest(int(false), 2000, 0.05).pvalue > 0.001 or false / 2000 < 0.05
    assert np.mean([(holm(row)[8:] < 0.05).all() for row in p]) > 0.99


def test_what_is_no_p_is_refused():
    with pytest.raises(InputError, match="between 0 and 1; got 1.5"):
        holm(np.array([0.1, 1.5]))
