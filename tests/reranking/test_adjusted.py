"""Early ranks once the final output is known: true nulls, planted effects, and a confounded corpus."""

from functools import cache

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from satlens.errors import InputError
from satlens.nulls import NullDraws
from satlens.reranking import early_ranks, null_gains
from satlens.reranking.adjusted import (
    MIN_RIGHT,
    RIDGE,
    Partial,
    adjusted,
    gain_of,
    shuffle_within,
    slope_of,
)
from satlens.reranking.collect import as_events
from satlens.reranking.folds import document_folds
from satlens.reranking.nulls import KINDS
from tests.reranking.planted import planted

SETS = 100


def partial_of(tokens, rank=2):
    wrong = tokens[~tokens.right]
    return wrong, Partial.of(wrong, rank, document_folds(wrong.doc))


@cache
def true_null():
    """A rank's layers follow the final output and the document, and say nothing more: 100 data sets."""
    rows = []
    for seed in range(SETS):
        tokens = planted(2000 + seed)
        _, partial = partial_of(tokens)
        found = adjusted(partial, tokens.n_layers, shuffles=49, draws=200, seed=seed)
        rows.append((found.gain.value, found.gain.low, found.gain.high, found.p, found.p_shuffled))
    return np.array(rows)


@pytest.mark.parametrize("column", [3, 4], ids=["documents", "shuffled"])
def test_p_is_uniform_when_there_is_nothing(column):
    p = true_null()[:, column]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert stats.binomtest(int((p <= 0.05).sum()), SETS, 0.05).pvalue > 0.001


def test_the_interval_covers_nothing_when_there_is_nothing():
    gain, low, high = true_null()[:, :3].T
    covered = int(((low <= 0) & (high >= 0)).sum())
    assert stats.binomtest(covered, SETS, 0.95).pvalue > 0.001
    assert abs(gain.mean()) < 4 * gain.std() / np.sqrt(SETS)  # no bias beyond what chance gives


def test_a_planted_effect_is_found_and_an_opposite_one_too():
    for effect, sign in ((1.5, 1), (-1.5, -1)):
        found = early_ranks(planted(5, documents=60, effect=effect), ranks=[2], shuffles=199)[0]
        ends = (found.adjusted.gain.low, found.adjusted.gain.high)
        assert min(sign * end for end in ends) > 0
        assert np.sign(found.adjusted.slope.value) == sign
        small = found.adjusted.p_shuffled if sign > 0 else 1 - found.adjusted.p_shuffled
        assert small < 0.02 and (found.adjusted.p if sign > 0 else 1 - found.adjusted.p) < 0.01


def test_the_gain_grows_with_the_effect():
    gains = [
        early_ranks(planted(6, effect=e), ranks=[2], shuffles=1)[0].adjusted.gain.value
        for e in (0.0, 1.0, 2.0)
    ]
    assert gains[0] < gains[1] < gains[2]


def test_a_confounded_corpus_passes_the_published_test_and_not_the_adjusted_one():
    """Sure ranks are fixed early and are right more often; being early adds nothing to being sure."""
    held = 0
    for seed in range(5):
        tokens = planted(seed, documents=60, tokens=100, confounded=1.5)
        found = early_ranks(tokens, ranks=[2], gap=5, shuffles=99)[0]
        assert found.published.p < 0.05 and found.published.z > 0
        assert found.sweep.difference[4].low > 0.01
        assert abs(found.sweep.matched[4].value) < 0.6 * found.sweep.difference[4].value
        held += found.adjusted.gain.low > 0
    assert held <= 1


def test_an_effect_in_a_confounded_corpus_is_not_lost():
    tokens = planted(3, documents=60, tokens=100, confounded=1.5, effect=1.5)
    found = early_ranks(tokens, ranks=[2], gap=5, shuffles=199)[0]
    assert found.adjusted.gain.low > 0 and found.adjusted.p < 0.01
    assert found.sweep.matched[4].low > 0


def test_left_is_ridge_regression_on_the_other_documents():
    _, partial = partial_of(planted(0, documents=10))
    v = partial.left(partial.lead[None])[0]
    for part in np.unique(partial.fold):
        test = partial.fold == part
        fit = Ridge(alpha=RIDGE).fit(partial.basis[~test], partial.lead[~test])
        np.testing.assert_allclose(
            v[test], partial.lead[test] - fit.predict(partial.basis[test]), atol=1e-9
        )


def test_gain_and_slope_are_the_formulas():
    _, partial = partial_of(planted(0, documents=10))
    v = partial.left(partial.lead[None])[0]
    sums = partial.sums(partial.lead[None]).sum(0)[0]
    n = len(v)
    assert gain_of(sums) == pytest.approx((partial.u * v).sum() / np.sqrt(n * (v**2).sum()))
    assert slope_of(sums) == pytest.approx((partial.u * v).sum() / (v**2).sum())
    assert np.isnan(gain_of(np.array([0.0, 0.0, 10.0])))


def test_no_document_is_fitted_on_and_judged():
    """Another outcome in one document: what is fitted for that document's own part does not move."""
    tokens = planted(0, documents=10)
    wrong, partial = partial_of(tokens)
    own = wrong.doc == 3
    flipped = np.where(own & (wrong.rank == 2), wrong.token[:, 2], wrong.next)
    other = Partial.of(wrong.replace(next=flipped), 2, partial.fold)
    said = (wrong.rank == 2) - partial.u, (flipped == wrong.token[:, 1]) - other.u
    part = partial.fold == partial.fold[own][0]
    assert (flipped != wrong.next).sum() > 3
    np.testing.assert_allclose(said[0][part], said[1][part], rtol=1e-12)
    assert not np.allclose(said[0][~part], said[1][~part])


def test_shuffles_stay_inside_their_stratum():
    stratum = np.random.default_rng(0).integers(0, 5, 100)
    index = shuffle_within(stratum, np.random.default_rng(1))
    assert sorted(index.tolist()) == list(range(100))
    assert (stratum[index] == stratum).all() and (index != np.arange(100)).any()


def test_too_few_right_ones_give_no_number_and_say_so():
    tokens = planted(0, documents=6, tokens=20)
    found = early_ranks(tokens, ranks=[4], shuffles=9)[0]
    assert np.isnan(found.adjusted.gain.value) and found.partial is None
    assert f"each training part needs {MIN_RIGHT} of either kind" in found.adjusted.note
    assert found.to_dict()["adjusted"]["gain"] == {"value": None, "ci": None}
    assert not np.isnan(found.right.value)


def test_layers_without_any_spread_give_no_number():
    tokens = planted(0)
    flat = tokens.replace(layer=np.zeros_like(tokens.layer))
    found = early_ranks(flat, ranks=[2], shuffles=9)[0]
    assert np.isnan(found.adjusted.gain.value) and np.isnan(found.adjusted.p_shuffled)
    assert np.isnan(found.published.p)


def draws_of(tokens, kind, layers):
    wrong = tokens[~tokens.right]
    return NullDraws(kind, np.stack(layers), as_events(wrong))


def test_excesses_over_nulls_that_know_nothing_and_that_know_all():
    tokens = planted(7, documents=60, effect=2.0)
    wrong, partial = partial_of(tokens)
    rng = np.random.default_rng(0)
    blind = [wrong.layer[rng.permutation(len(wrong))] for _ in range(4)]
    nulls = {
        "rotated": draws_of(tokens, "rotated", blind),
        "exchanged": draws_of(tokens, "exchanged", [wrong.layer] * 2),
    }
    found = null_gains(partial, wrong, nulls)
    assert list(found.kinds) == list(KINDS)
    assert found.kinds["rotated"].excess.low > 0 and found.shuffled.low > 0
    assert found.kinds["exchanged"].excess.value == pytest.approx(0, abs=1e-12)
    assert found.strictest == "exchanged" and found.beyond.value == pytest.approx(0, abs=1e-12)
    assert found.kinds["untrained"].to_dict()["gain"] is None
    real = early_ranks(tokens, ranks=[2], shuffles=1)[0].adjusted.gain.value
    assert found.kinds["rotated"].real == pytest.approx(real)


def test_a_null_of_some_documents_is_held_against_the_same_positions():
    tokens = planted(7, documents=40, effect=2.0)
    wrong, partial = partial_of(tokens)
    few = tokens[tokens.doc < 12]
    null = draws_of(few, "rotated", [few[~few.right].layer[::-1]])
    found = null_gains(partial, wrong, {"rotated": null}).kinds["rotated"]
    assert found.tokens == (wrong.doc < 12).sum()
    own = partial.rows(wrong.doc < 12)
    assert found.real == pytest.approx(float(gain_of(own.sums(own.lead[None]).sum(0))[0]))


def test_a_null_without_spread_is_left_out_and_named():
    tokens = planted(7)
    wrong, partial = partial_of(tokens)
    null = draws_of(tokens, "untrained", [np.full_like(wrong.layer, tokens.n_layers - 1)])
    found = null_gains(partial, wrong, {"untrained": null})
    assert found.notes == [
        "untrained: not available. The final output leaves nothing open of its layers."
    ]
    assert np.isnan(found.beyond.value) and found.strictest == ""


def test_a_null_of_other_positions_is_refused():
    tokens = planted(7)
    wrong, partial = partial_of(tokens)
    null = NullDraws("rotated", tokens.layer[None], as_events(tokens))
    with pytest.raises(InputError, match="The null 'rotated' has .* positions that are not among"):
        null_gains(partial, wrong, {"rotated": null})
