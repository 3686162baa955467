import tracemalloc

import numpy as np
import pytest

from satlens import order
from satlens.errors import InputError
from satlens.nulls import NullDraws
from satlens.resampling import bootstrap, by_document
from satlens.saturation.events import SaturationEvents
from satlens.survey.poisson import PoissonBootstrap, poisson_weights
from satlens.survey.statistics import Statistics


def planted(documents=150, seed=0, k=4, n_layers=8, shift=0.7):
    """Events whose ranks tend to be fixed in order, with documents that differ."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, documents)
    doc = np.repeat(np.arange(documents) * 3, sizes)
    mean = rng.normal(3, 1.0, documents)[np.repeat(np.arange(documents), sizes)]
    layer = mean[:, None] + shift * np.arange(k) + rng.normal(0, 2, (len(doc), k))
    layer = np.clip(layer.round(), 0, n_layers - 1).astype(int)
    pos = np.concatenate([np.arange(size) for size in sizes])
    return SaturationEvents(layer, np.zeros_like(layer), doc, pos, n_layers)


def null_of(events, kind, seed):
    rng = np.random.default_rng(seed)
    return NullDraws(kind, np.stack([rng.permuted(events.layer, axis=1) for _ in range(3)]), events)


def in_shards(events, cuts, nulls=(), **settings):
    """Statistics of events cut into shards behind these documents."""
    found = Statistics(events.k, events.n_layers, **settings)
    shard = np.searchsorted(cuts, events.doc, side="right")
    for number in range(len(cuts) + 1):
        mine = shard == number
        found.update(events.layer[mine], events.doc[mine], number)
        for null in nulls:
            real, drawn = null.events.layer[mine], null.layer[:, mine]
            found.update_null(null.kind, real, drawn, events.doc[mine])
    return found.finish()


def close(online, whole, slack=0.3):
    """One value, and interval ends that differ by less than a part of the interval."""
    np.testing.assert_allclose(online.value, whole.value, rtol=1e-12, atol=1e-12)
    width = np.asarray(whole.high) - np.asarray(whole.low)
    for end in ("low", "high"):
        off = np.abs(np.asarray(getattr(online, end)) - np.asarray(getattr(whole, end)))
        assert (off <= slack * width + 1e-9).all(), end


def test_the_values_are_those_of_the_whole_and_the_intervals_agree():
    events = planted()
    online, whole = in_shards(events, [60, 240, 300]), order.report(events)
    close(online.mean_layer, whole.coverage.mean_layer)
    close(online.censored, whole.coverage.censored)
    close(online.survival, whole.survival.curve)
    close(online.strict_tau, whole.strict_tau)
    close(online.concordance, whole.concordance.estimate)
    close(online.comparable, whole.concordance.comparable)
    assert online.paper.tau.value == pytest.approx(whole.paper.tau, abs=1e-12)
    assert online.paper.tau.low < online.paper.tau.value < online.paper.tau.high
    assert (online.paper.kept, online.tokens) == (whole.paper.kept, len(events))
    assert online.documents == events.n_docs == online.mean_layer.documents


@pytest.mark.parametrize(("shift", "verdict"), [(0.7, "holds"), (0.0, "does not hold")])
def test_the_excess_and_the_verdict_are_those_of_the_whole(shift, verdict):
    events = planted(400, shift=shift)
    nulls = {kind: null_of(events, kind, i) for i, kind in enumerate(("rotated", "exchanged"))}
    online = in_shards(events, [300], nulls.values())
    whole = order.verdict(nulls)
    assert online.verdict.verdict == whole.verdict == verdict
    assert online.verdict.excess.kind == whole.excess.kind
    for kind, null in nulls.items():
        one = order.excess(null)
        close(online.excess[kind].estimate, one.estimate)
        assert online.excess[kind].real == pytest.approx(one.real)
        np.testing.assert_allclose(online.excess[kind].draws, one.draws)
        assert online.excess[kind].tokens == len(events)


def test_the_paper_p_is_that_of_shuffled_tokens():
    none, some = planted(shift=0.0), planted()
    assert in_shards(some, [30]).paper.p == pytest.approx(1 / 1001)
    reversed_ = SaturationEvents(some.layer[:, ::-1], some.token, some.doc, some.pos, some.n_layers)
    assert in_shards(reversed_, [30]).paper.p > 0.5
    drift = abs(in_shards(none, [30]).paper.p - order.paper_tau(none).p)
    assert drift < 0.05


def test_neither_shards_nor_their_number_change_anything():
    events = planted()
    first, second = in_shards(events, []), in_shards(events, [9, 10, 33, 200, 444])
    for name in ("mean_layer", "censored", "survival", "strict_tau", "concordance", "comparable"):
        one, other = getattr(first, name), getattr(second, name)
        for end in ("value", "low", "high"):
            np.testing.assert_allclose(getattr(one, end), getattr(other, end), atol=1e-12)
    assert first.paper.tau.high == pytest.approx(second.paper.tau.high, abs=1e-12)


def test_poisson_counts_have_the_law_and_are_independent():
    weights = poisson_weights(np.arange(256), draws=4000, seed=0).astype(float)
    assert weights.mean() == pytest.approx(1, abs=0.005)
    assert weights.var() == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(weights)[np.triu_indices(256, 1)]).max() < 0.09
    assert (
        poisson_weights(np.arange(9), 50, seed=0) != poisson_weights(np.arange(9), 50, seed=1)
    ).any()


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Documents of different means: taking tokens as independent covers far too seldom."""
    ratio = lambda s: s[..., :1] / s[..., 1:]  # noqa: E731
    inside = naive = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        doc = np.repeat(np.arange(60), 20)
        value = rng.normal(0, 1, 60)[doc] + rng.normal(0, 1, len(doc))
        sums = by_document(np.column_stack([value, np.ones(len(doc))]), doc)
        online = PoissonBootstrap(draws=400, seed=seed)
        online.update(np.arange(60), sums)
        found = online.intervals(ratio)
        inside += bool(found.low[0] < 0 < found.high[0])
        naive += abs(value.mean()) < 1.96 * value.std() / np.sqrt(len(value))
        if seed < 10:
            close(found, bootstrap(sums, ratio, draws=2000, seed=seed))
    assert 180 <= inside <= 199
    assert naive < 120


def test_memory_does_not_grow_with_the_corpus():
    events = planted(64)

    def peak(shards):
        tracemalloc.start()
        found = Statistics(events.k, events.n_layers, draws=500)
        for shard in range(shards):
            found.update(events.layer, events.doc + 1000 * shard, shard)
        found.finish()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # tables that are made once
    assert peak(40) < 1.1 * peak(4)


def test_one_rank_one_document_no_token():
    events = planted(3, k=1)
    found = in_shards(events, [])
    assert found.concordance is None and found.paper is None and found.to_dict()["order"] is None
    found = in_shards(planted(1), [])
    assert (
        found.mean_layer.note.startswith("no interval")
        and found.to_dict()["ranks"][0]["mean_layer"]["ci"] is None
    )
    with pytest.raises(InputError, match="no token"):
        Statistics(2, 4).finish()
