import numpy as np
import pytest

from satlens.patching.effects import Resampling, effect_over, mean_over, strictest
from satlens.resampling import document_weights

HOW = Resampling(draws=300, seed=3)


def some_values(seed=0, units=40, grid=3, docs=6):
    rng = np.random.default_rng(seed)
    values, other = rng.normal(size=(2, units, grid))
    values[rng.random((units, grid)) < 0.2] = np.nan
    other[rng.random((units, grid)) < 0.2] = np.nan
    return values, other, rng.integers(docs, size=units)


def test_means_leave_out_what_is_not_known():
    values, other, doc = some_values()
    np.testing.assert_allclose(mean_over(values, doc, HOW).value, np.nanmean(values, 0))
    expected = np.nanmean(values - other, 0)  # only the units that have both
    np.testing.assert_allclose(effect_over(values, other, doc, HOW).value, expected)
    three = np.stack([values, other], -1)
    assert mean_over(three, doc, HOW).low.shape == (3, 2)


def test_the_interval_draws_documents_and_finds_the_strictest_in_every_draw():
    values, other, doc = some_values()
    third = other + 0.05 * np.sin(np.arange(len(doc)))[:, None]
    controls = {"a": other[:, 0], "b": third[:, 0], "nobody": np.full(len(doc), np.nan)}
    name, estimate = strictest(values[:, 0], controls, doc, HOW)
    docs = np.unique(doc)
    drawn = []
    for w in np.concatenate(list(document_weights(len(docs), HOW.draws, HOW.seed))):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(doc == d), n) for d, n in zip(docs, w, strict=True)]
        )
        both = [np.nanmean((values[:, 0] - controls[c])[rows]) for c in ("a", "b")]
        drawn.append(min(both))
    np.testing.assert_allclose([estimate.low, estimate.high], np.quantile(drawn, [0.025, 0.975]))
    points = {c: np.nanmean(values[:, 0] - controls[c]) for c in ("a", "b")}
    assert name == min(points, key=points.get) and estimate.value == pytest.approx(
        min(points.values())
    )


def test_no_control_at_all_gives_no_effect():
    values, _, doc = some_values()
    name, estimate = strictest(values[:, 0], {"a": np.full(len(doc), np.nan)}, doc, HOW)
    assert name is None and np.isnan(estimate.low) and "no unit was tried" in estimate.note


def test_a_true_null_is_covered():
    """Units of a document resemble each other; the interval holds 0 in about 95 of 100 corpora."""
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        doc = np.repeat(np.arange(30), 5)
        values = rng.normal(size=150) + rng.normal(size=30)[doc]
        one = mean_over(values, doc, Resampling(draws=300, seed=seed))
        hits += float(one.low) <= 0 <= float(one.high)
    assert 86 <= hits <= 99
