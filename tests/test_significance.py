from itertools import product

import numpy as np
import pytest

from satlens.errors import InputError
from satlens.significance import permutation_p, sign_flip


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
