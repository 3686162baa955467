from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satlens.errors import InputError
from satlens.order.resampling import (
    ascents_law,
    bootstrap,
    by_document,
    document_weights,
    mann_whitney_law,
    permutation_p,
    permuted_ascents,
    sign_flip,
)

RATIO = lambda s: s[..., :1] / s[..., 1:]  # noqa: E731


def ascents(values):
    return sum(a < b for i, a in enumerate(values) for b in values[i + 1 :])


def test_sums_by_document_are_the_loops_sums():
    rng = np.random.default_rng(0)
    doc = rng.integers(0, 7, 50) * 3
    values = rng.normal(size=(4, 50, 2))
    expected = np.stack([values[:, doc == d].sum(1) for d in np.unique(doc)], axis=1)
    np.testing.assert_allclose(by_document(values, doc), expected)


def test_bootstrap_is_resampling_documents_one_by_one():
    rng = np.random.default_rng(1)
    sums = rng.uniform(1, 5, size=(9, 2))
    result = bootstrap(sums, RATIO, draws=500, level=0.9, seed=3)
    weights = np.concatenate(list(document_weights(9, 500, seed=3)))
    drawn = []
    for w in weights:
        rows = np.repeat(sums, w, axis=0)  # the resampled corpus, document by document
        assert len(rows) == 9
        drawn.append(rows[:, 0].sum() / rows[:, 1].sum())
    assert result.value == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum())
    expected = np.quantile(drawn, [0.05, 0.95])
    np.testing.assert_allclose([result.low[0], result.high[0]], expected)
    assert (result.draws, result.seed, result.level, result.documents) == (500, 3, 0.9, 9)


def test_bootstrap_interval_holds_the_truth_at_its_level():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):  # 40 documents of 5 tokens each that share most of their value
        value = rng.normal(size=(40, 1)) + 0.3 * rng.normal(size=(40, 5))
        sums = np.column_stack([value.sum(1), np.full(40, 5)])
        one = bootstrap(sums, RATIO, draws=300)[0]
        hits += one.low <= 0 <= one.high
    assert stats.binomtest(hits, 200, 0.94).pvalue > 0.001


def test_bootstrap_repeats_from_its_seed_whatever_the_chunks(monkeypatch):
    sums = np.random.default_rng(0).uniform(1, 2, (12, 2))
    first = bootstrap(sums, RATIO, draws=101, seed=5)
    monkeypatch.setattr("satlens.order.resampling._CHUNK", 12 * 7)
    again = bootstrap(sums, RATIO, draws=101, seed=5)
    assert first.low[0] == again.low[0] and first.high[0] == again.high[0]
    assert bootstrap(sums, RATIO, draws=101, seed=6).low[0] != first.low[0]


def test_one_document_has_no_interval_and_says_so():
    one = bootstrap(np.array([[1.0, 2.0]]), RATIO)[0]
    assert one.value == 0.5 and np.isnan([one.low, one.high]).all()
    assert one.note == "no interval: documents are its units, and it needs at least 2 (found 1)"
    assert one.to_dict() == {"value": 0.5, "ci": None}


def test_undefined_draws_are_left_out_of_the_interval():
    sums = np.array([[1.0, 2.0], [0.0, 0.0]])
    one = bootstrap(sums, RATIO, draws=200)[0]
    assert (one.value, one.low, one.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"level": 1.0}, "level must lie between 0 and 1"),
    ],
)
def test_unusable_settings_are_refused(kwargs, words):
    with pytest.raises(InputError, match=words):
        bootstrap(np.ones((3, 2)), RATIO, **kwargs)


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
    monkeypatch.setattr("satlens.order.resampling.EXACT_DOCUMENTS", 5)
    drawn = sign_flip(values, draws=20_000)
    assert not drawn.exact and drawn.p == pytest.approx(exact, abs=0.015)


def test_sign_flip_of_nothing_and_of_an_unknown_side():
    empty = sign_flip(np.array([np.nan]))
    assert np.isnan(empty.p) and "no document has anything to compare" in empty.note
    with pytest.raises(InputError, match="alternative is 'up'; it must be 'greater'"):
        sign_flip(np.ones(3), alternative="up")
