import numpy as np
import pytest
from scipy import stats

from satlens.errors import InputError
from satlens.order import page_trend
from tests.order.planted import layers_without_order, make_events


def test_rows_are_the_documents_mean_layers():
    rng = np.random.default_rng(0)
    layer, doc = layers_without_order(rng, documents=9, tokens=6, k=4, n_layers=10)
    means = np.stack([layer[doc == d].mean(0) for d in range(9)])
    expected = stats.page_trend_test(means)
    found = page_trend(make_events(layer, 10, doc))
    assert (found.statistic, found.p) == (expected.statistic, expected.pvalue)
    assert found.documents == 9


def test_a_planted_order_is_found_and_its_reverse_is_not():
    rng = np.random.default_rng(1)
    layer, doc = layers_without_order(rng, documents=20, tokens=10, k=5, n_layers=20)
    up = page_trend(make_events(np.clip(layer + np.arange(5), 0, 19), 20, doc))
    down = page_trend(make_events(np.clip(layer - np.arange(5), 0, 19), 20, doc))
    assert up.p < 1e-6 and down.p > 0.999


@pytest.mark.parametrize("layer", [[[0, 1, 2]], [[0, 1], [1, 2]]])
def test_too_little_for_the_test_gives_nan_and_says_why(layer):
    result = page_trend(make_events(layer, 4))
    assert np.isnan(result.p) and "needs at least 2 documents and 3 ranks" in result.note


def test_one_rank_is_refused():
    with pytest.raises(InputError, match="page_trend compares ranks"):
        page_trend(make_events([[0], [1]], 4))
