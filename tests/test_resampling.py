import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satlens.errors import InputError
from satlens.resampling import bootstrap, by_document, document_weights, share_not_above

RATIO = lambda s: s[..., :1] / s[..., 1:]  # noqa: E731


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
    monkeypatch.setattr("satlens.resampling._CHUNK", 12 * 7)
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


def test_p_is_uniform_where_nothing_is_there_and_small_where_something_is():
    rng = np.random.default_rng(3)
    found, planted = [], []
    for _ in range(300):
        value = rng.normal(size=(60, 1)) + 0.3 * rng.normal(size=(60, 5))
        sums = np.column_stack([value.sum(1), np.full(60, 5)])
        found.append(bootstrap(sums, RATIO, draws=300)[0].p)
        planted.append(bootstrap(sums + [5, 0], RATIO, draws=300)[0].p)
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert max(planted) == 1 / 301


@given(st.integers(0, 10_000), st.floats(-1.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_p_says_what_the_interval_says(seed, shift):
    rng = np.random.default_rng(seed)
    sums = np.column_stack([rng.normal(shift, 1, 12), np.ones(12)])
    one = bootstrap(sums, RATIO, draws=400, seed=seed)[0]
    if one.low > 0:
        assert one.p <= 0.025 + 1 / 200
    if one.p < 0.02:
        assert one.low > 0
    if one.high <= 0:
        assert one.p > 0.97


def test_one_document_and_undefined_draws_have_no_p():
    assert np.isnan(bootstrap(np.array([[1.0, 2.0]]), RATIO)[0].p)
    assert np.isnan(bootstrap(np.zeros((3, 2)), RATIO)[0].p)  # 0 / 0 in every draw
    assert np.isnan(share_not_above(np.full((4, 1), np.nan))).all()


def test_a_part_of_several_keeps_its_own_numbers():
    sums = np.random.default_rng(0).normal(size=(9, 4))
    every = bootstrap(sums, lambda s: s)
    part = every.map(lambda array: array[1:3].reshape(2, 1))
    assert part.value.shape == part.p.shape == (2, 1) and part.documents == 9
    assert part[1, 0] == every[2]
