from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satlens.order.permutation import (
    ascents_law,
    mann_whitney_law,
    permuted_ascents,
)


def ascents(values):
    return sum(a < b for i, a in enumerate(values) for b in values[i + 1 :])


@pytest.mark.parametrize("a, b", [(0, 3), (1, 1), (2, 3), (4, 2)])
def test_mann_whitney_law_is_the_count_of_all_orders(a, b):
    orders = list(permutations([0] * a + [1] * b))
    counts = np.bincount([ascents(order) for order in orders], minlength=a * b + 1)
    np.testing.assert_allclose(mann_whitney_law(a, b), counts / len(orders), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_ascents_law_is_the_count_of_all_permutations(values, data):
    keep = data.draw(st.integers(1, len(values)))
    _, ties = np.unique(values, return_counts=True)
    orders = list(permutations(values))
    counts = np.bincount([ascents(order[:keep]) for order in orders])
    law = ascents_law(tuple(ties.tolist()), keep)
    assert law.sum() == pytest.approx(1)
    np.testing.assert_allclose(law[: len(counts)], counts / len(orders), atol=1e-12)
    assert law[len(counts) :].sum() == pytest.approx(0, abs=1e-12)


def test_permuted_ascents_have_the_law_of_shuffled_rows():
    rng = np.random.default_rng(0)
    layer = rng.integers(0, 4, (30, 5))
    keep = rng.integers(3, 6, 30)
    weight = lambda m: 2 / (m * (m - 1))  # noqa: E731
    drawn = permuted_ascents(layer, keep, weight, draws=2000, seed=1)
    slow = [
        sum(
            weight(m) * ascents(row[:m])
            for row, m in zip(rng.permuted(layer, axis=1), keep, strict=True)
        )
        for _ in range(1000)
    ]
    assert stats.ks_2samp(drawn, slow).pvalue > 0.001
    assert drawn.std() == pytest.approx(np.std(slow), rel=0.1)
