import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satlens.errors import InputError
from satlens.reranking import early_ranks
from satlens.reranking.confounders import BINS, basis, expected, features, nested, standard
from satlens.reranking.proportions import (
    TwoProportions,
    by_lead,
    cell_sums,
    paper_gap,
    sweep,
    two_proportion_test,
)
from tests.reranking.planted import planted


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_the_published_test_is_the_chi_square_of_the_table(n1, n2, data):
    x1, x2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    z, p = two_proportion_test(n1, x1, n2, x2)
    if not 0 < x1 + x2 < n1 + n2:
        assert np.isnan(z) and np.isnan(p)
        return
    want = stats.chi2_contingency([[x1, n1 - x1], [x2, n2 - x2]], correction=False)
    assert z**2 == pytest.approx(want.statistic, abs=1e-9) and p == pytest.approx(want.pvalue)
    assert np.sign(z) == np.sign(x1 / n1 - x2 / n2)


def test_a_side_without_positions_has_no_test_and_a_p_is_never_0():
    assert np.isnan(two_proportion_test(0, 0, 5, 2)).all()
    assert 0 < two_proportion_test(10**6, 9 * 10**5, 10**6, 10**5)[1] < 1e-300
    one = TwoProportions.of(np.array([0, 0, 1]), np.array([True, False, True]), gap=2)
    assert one.to_dict()["early_share"] is None and one.to_dict()["p"] is None


def plain(cell, lead, right, said, gap):
    """The four numbers of the module's docstring, stratum by stratum."""
    early, last = lead >= gap, lead == 0
    if not early.any() or not last.any():
        return None
    difference = right[early].mean() - right[last].mean()
    a, b = right[early].sum() + 0.5, (~right[early]).sum() + 0.5
    c, d = right[last].sum() + 0.5, (~right[last]).sum() + 0.5
    odds = a / b / (c / d)
    top = weights = up = down = 0.0
    for one in np.unique(cell):
        e, f = early & (cell == one), last & (cell == one)
        if not e.any() or not f.any():
            continue
        n = e.sum() + f.sum()
        w = e.sum() * f.sum() / n
        top += w * ((right[e] - said[e]).mean() - (right[f] - said[f]).mean())
        weights += w
        up += right[e].sum() * (~right[f]).sum() / n
        down += right[f].sum() * (~right[e]).sum() / n
    matched = top / weights if weights else np.nan
    return difference, odds, matched, up / down if down else np.nan


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(5, 60), st.integers(1, 6), st.integers(2, 6))
def test_a_sweep_is_the_plain_count_at_every_gap(seed, n, cells, n_layers):
    rng = np.random.default_rng(seed)
    cell, lead = rng.integers(0, cells, n), rng.integers(0, n_layers, n)
    right, said = rng.random(n) < 0.4, rng.random(n)
    doc = rng.integers(0, 4, n)
    found = sweep(cell_sums(doc, cell, lead, right, said, n_layers), draws=20)
    for gap in range(1, n_layers):
        want = plain(cell, lead, right, said, gap)
        got = [getattr(found, name).value[gap - 1]
               for name in ("difference", "odds_ratio", "matched", "matched_odds_ratio")]  # fmt: skip
        if want is None:
            assert np.isnan(got).all()
        else:
            np.testing.assert_allclose(got, want, atol=1e-9, equal_nan=True)
        assert found.early[gap - 1] == (lead >= gap).sum()
    shares = by_lead(cell_sums(doc, cell, lead, right, said, n_layers), draws=20)
    for e in np.unique(lead):
        assert shares.right.value[e] == pytest.approx(right[lead == e].mean())
        assert shares.expected.value[e] == pytest.approx(said[lead == e].mean())


def test_the_bootstrap_in_slices_is_the_bootstrap_in_one(monkeypatch):
    tokens = planted(3, documents=12, tokens=30)
    wrong = tokens[~tokens.right]
    sums = cell_sums(
        wrong.doc, nested([expected(wrong, 2)], (4,)), wrong.lead[:, 1], wrong.rank == 2,
        expected(wrong, 2), wrong.n_layers,
    )  # fmt: skip
    whole = sweep(sums, draws=100)
    monkeypatch.setattr("satlens.reranking.proportions._SLICE", 7)
    sliced = sweep(sums, draws=100)
    np.testing.assert_array_equal(whole.matched.low, sliced.matched.low)


def test_paper_gap_is_seven_or_its_share_of_a_shallow_model():
    assert [paper_gap(n) for n in (48, 32, 8, 7, 5, 2)] == [7, 7, 7, 1, 1, 1]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 400), st.integers(1, 30))
def test_strata_are_of_like_size_and_in_order_of_the_first_column(seed, n, per):
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=n) for _ in BINS]
    cell = nested(columns, BINS, per)
    size = np.bincount(cell)
    size = size[size > 0]
    assert size.max() - size.min() <= len(BINS)
    assert size.min() >= min(per, n) // 2 or len(size) == 1
    outer = cell // (cell.max() + 1) if len(size) == 1 else cell
    first = [columns[0][outer == c] for c in np.unique(outer)]
    parts = len(np.unique(nested(columns[:1], BINS[:1], per)))
    group = np.unique(nested(columns[:1], BINS[:1], per), return_inverse=True)[1]
    tops = [columns[0][group == g].max() for g in range(parts)]
    assert tops == sorted(tops) and len(first) == len(size)


def test_expected_and_features_are_the_final_outputs_own():
    tokens = planted(0, documents=4, tokens=10)
    p = np.exp(tokens.logp.astype(float))
    np.testing.assert_allclose(expected(tokens, 3), p[:, 2] / (1 - p[:, 0]), rtol=1e-5)
    x = features(tokens, 2)
    np.testing.assert_allclose(x[:, 0], np.log(p[:, 1]))
    np.testing.assert_allclose(x[:, 1], np.log(p[:, 0] / (1 - p[:, 0])), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x[:, 3:], np.log(p[:, [0, 1]] / p[:, [1, 2]]), atol=1e-6)


def test_the_basis_is_standard_and_survives_constant_features():
    x = np.random.default_rng(0).normal(size=(200, 3))
    x[:, 1] = 2.0
    made = basis(x)
    np.testing.assert_allclose(made.mean(0), 0, atol=1e-9)
    assert set(made.std(0).round(6)) == {0.0, 1.0} and np.isfinite(made).all()
    assert (standard(np.ones((3, 1))) == 0).all()


def test_nothing_of_the_outcome_decides_strata_or_features():
    tokens = planted(1, documents=6)
    other = tokens.replace(next=np.roll(tokens.next, 5), next_logp=np.roll(tokens.next_logp, 5))
    assert (features(tokens, 2) == features(other, 2)).all()
    assert (expected(tokens, 2) == expected(other, 2)).all()


@pytest.mark.parametrize(
    "kw, words",
    [
        ({"ranks": [1]}, r"ranks must be some of 2 .. 4, got \[1\]"),
        ({"ranks": []}, r"ranks must be some of 2 .. 4, got \[\]"),
        ({"gap": 12}, "gap must be 1 .. 11 layers before the end, got 12: the model has 12 layers"),
        ({"folds": 1}, "folds must be at least 2, got 1"),
        ({"folds": 9}, "9 folds need at least 9 documents, .* the positions are of 6"),
    ],
)
def test_bad_settings_are_refused(kw, words):
    with pytest.raises(InputError, match=words):
        early_ranks(planted(1, documents=6), **kw)


def test_without_a_wrong_top_1_there_is_nothing_to_look_at():
    tokens = planted(1, documents=6)
    always = tokens.replace(next=tokens.token[:, 0], next_logp=tokens.logp[:, 0])
    with pytest.raises(InputError, match="Top-1 is the next token at all of 360 positions"):
        early_ranks(always)
