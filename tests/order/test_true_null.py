"""Layers that know nothing of the rank: p-values of a sound test are uniform."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from satlens.order import concordance, page_trend, paper_tau
from tests.order.planted import layers_without_order, make_events

SETS = 200


@cache
def p_values() -> dict[str, np.ndarray]:
    """Each test on each of 200 data sets of 40 documents, 12 tokens each."""
    rows = []
    for seed in range(SETS):
        rng = np.random.default_rng([7, seed])
        layer, doc = layers_without_order(rng, 40, 12, k=5, n_layers=16, centre=0.8)
        events = make_events(layer, 16, doc)  # a third of the layers is censored
        c = concordance(events, draws=999, seed=seed)
        paper = paper_tau(events, draws=999, seed=seed)
        rows.append((c.by_documents.p, c.by_permutation.p, page_trend(events).p, paper.p))
    return dict(zip(["documents", "permutation", "page", "paper"], np.array(rows).T, strict=True))


@pytest.mark.parametrize("test", ["documents", "permutation", "page"])
def test_sound_tests_are_uniform(test):
    p = p_values()[test]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert stats.binomtest(int((p <= 0.05).sum()), SETS, 0.05).pvalue > 0.001


def test_the_published_test_is_not():
    """The filter and the cut select tokens that look ordered; the shuffled ones are not selected."""
    p = p_values()["paper"]
    assert stats.kstest(p, "uniform").pvalue < 1e-20
    assert (p <= 0.05).mean() > 0.3


def test_the_published_test_rejects_any_large_corpus_without_order():
    for seed in range(5):
        rng = np.random.default_rng([10, seed])
        layer, doc = layers_without_order(rng, 60, 150, k=5, n_layers=16, centre=0.8)
        events = make_events(layer, 16, doc)
        assert paper_tau(events).p == pytest.approx(1 / 1001)
        assert concordance(events).by_documents.p > 0.01


def test_the_published_test_without_its_filter_and_cut_is_sound():
    """The positive control: the same layers, never censored and all let through, give no order."""
    p = []
    for seed in range(SETS):
        rng = np.random.default_rng([8, seed])
        layer, doc = layers_without_order(rng, documents=10, tokens=12, k=5, n_layers=16)
        events = make_events(layer, 17, doc)  # one more layer: nothing is censored
        p.append(paper_tau(events, max_layer_share=1.0, draws=999, seed=seed).p)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_a_rank_effect_of_whole_documents_fools_only_the_permutation_test():
    """A document that favours one order at random is no order: only the documents' test knows."""
    documents, permutation = [], []
    for seed in range(100):
        rng = np.random.default_rng([9, seed])
        layer, doc = layers_without_order(rng, documents=30, tokens=12, k=5, n_layers=40)
        tilt = rng.choice([-4.0, 4.0], 30)[doc][:, None] * (np.arange(5) - 2)
        events = make_events(np.clip(layer + tilt, 0, 39).astype(int), 40, doc)
        c = concordance(events, draws=499, seed=seed)
        documents.append(c.by_documents.p)
        permutation.append(c.by_permutation.p)
    assert stats.kstest(documents, "uniform").pvalue > 0.001
    assert stats.kstest(permutation, "uniform").pvalue < 1e-6
