import numpy as np
import pytest
import torch
from scipy import stats

from satlens.errors import InputError
from satlens.nulls.block import PATH_NULLS
from satlens.nulls.draws import NullDraws
from satlens.order import NullSampler, concordance, excess, strict_tau, verdict
from satlens.order.excess import Excess, judge
from satlens.resampling import Estimate, document_weights
from tests.order.planted import (
    Readout,
    detect_states,
    layers_without_order,
    make_events,
    noise_paths,
    stagewise_paths,
)


def some_null(seed=0, draws=4):
    rng = np.random.default_rng(seed)
    real, doc = layers_without_order(rng, documents=8, tokens=6, k=4, n_layers=10)
    layer = np.stack(
        [
            layers_without_order(rng, documents=8, tokens=6, k=4, n_layers=10)[0]
            for _ in range(draws)
        ]
    )
    return NullDraws("rotated", layer, make_events(real, 10, doc))


def test_excess_is_the_statistic_minus_its_mean_over_the_draws():
    null = some_null()
    draws = [null.draw(i) for i in range(len(null))]
    by_hand = {
        "concordance": lambda e: concordance(e, draws=1).estimate.value,
        "strict_tau": lambda e: strict_tau(e).mean(),
        "spread": lambda e: e.layer[:, -1].mean() - e.layer[:, 0].mean(),
    }
    for name, g in by_hand.items():
        result = excess(null, statistic=name)
        values = [g(draw) for draw in draws]
        assert result.real == pytest.approx(g(null.events))
        np.testing.assert_allclose(result.draws, values)
        assert result.estimate.value == pytest.approx(g(null.events) - np.mean(values))


def test_the_interval_draws_the_same_documents_for_both_sides():
    null = some_null()
    result = excess(null, draws=200, seed=3, level=0.8)
    rows = [np.flatnonzero(null.events.doc == d) for d in range(8)]
    drawn = []
    for w in np.concatenate(list(document_weights(8, 200, 3))):
        picked = np.concatenate([np.tile(rows[d], w[d]) for d in range(8)])
        values = [
            concordance(make_events(layer[picked], 10), draws=1).estimate.value
            for layer in [null.events.layer, *null.layer]
        ]
        drawn.append(values[0] - np.mean(values[1:]))
    np.testing.assert_allclose(
        [result.estimate.low, result.estimate.high], np.quantile(drawn, [0.1, 0.9])
    )


def path_nulls(resid, scores, doc, k, draws, seed=0):
    events = detect_states(resid, scores, doc, k)
    sampler = NullSampler(scores, kinds=PATH_NULLS, draws=draws, seed=seed)
    sampler.update(resid, events)
    return sampler.finish()


def test_pure_noise_has_no_excess_over_the_path_nulls():
    """No model at all: the published statistic finds order here, the excess does not."""
    inside, orders, paper = {kind: [] for kind in PATH_NULLS}, [], []
    for seed in range(30):
        gen = torch.Generator().manual_seed(seed)
        resid, doc = noise_paths(gen, documents=30, tokens=8, n_layers=10, d=24)
        scores = Readout(torch.randn(120, 24, generator=gen))
        nulls = path_nulls(resid, scores, doc, k=5, draws=10, seed=seed)
        for kind in PATH_NULLS:
            one = excess(nulls[kind], draws=500).estimate
            inside[kind].append((one.low <= 0 <= one.high, one.value, one.high - one.low))
        c = concordance(nulls["rotated"].events, draws=100)
        orders.append(c.estimate.low)
        paper.append(c.by_documents.p)
    assert np.median(orders) > 0.55 and np.median(paper) < 0.05  # order from converging alone
    for kind in PATH_NULLS:
        hits, values, widths = np.array(inside[kind]).T
        assert stats.binomtest(int(hits.sum()), 30, 0.93).pvalue > 0.001
        assert abs(values.mean()) < 0.01 < np.mean(widths) / 2


def test_stages_beyond_the_geometry_are_found():
    gen = torch.Generator().manual_seed(0)
    resid, doc = stagewise_paths(gen, documents=20, tokens=10, n_layers=14, d=30, k=4)
    identity = lambda states, layer: states  # noqa: E731
    nulls = path_nulls(resid, identity, doc, k=4, draws=10)
    result = verdict(nulls, draws=500)
    assert result.verdict == "holds" and result.excess.estimate.low > 0.05
    smallest = min(excess(nulls[kind], draws=500).estimate.value for kind in PATH_NULLS)
    assert result.excess.estimate.value == smallest  # the stricter of the two
    assert result.why.startswith(f"The interval of the excess over the {result.excess.kind} path,")


def an_excess(low, high, note=""):
    estimate = Estimate((low + high) / 2, low, high, note=note)
    return Excess("rotated", "concordance", 0.7, np.array([0.6]), estimate, tokens=9)


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0.03, 0.05, "holds"),
        (0.001, 0.005, "holds"),  # and says that it is small
        (-0.05, -0.01, "does not hold"),
        (-0.01, 0.01, "does not hold"),
        (0.0, 0.019, "does not hold"),
        (-0.01, 0.02, "cannot be told here"),
        (-0.3, 0.4, "cannot be told here"),
        (np.nan, np.nan, "cannot be told here"),
    ],
)
def test_the_three_verdicts(low, high, expected):
    assert (
        judge(an_excess(low, high, note="no interval: one document"), margin=0.02).verdict
        == expected
    )


def test_verdicts_say_why():
    assert judge(an_excess(0.001, 0.005)).why.endswith("lies above 0. It is smaller than 0.02.")
    assert "excludes an effect of 0.02 or more" in judge(an_excess(-0.01, 0.01)).why
    assert "lies below 0" in judge(an_excess(-0.05, -0.01)).why
    assert "more documents would tell" in judge(an_excess(-0.1, 0.1)).why
    assert judge(an_excess(np.nan, np.nan, "no interval: x")).why == "There is no interval: x."


def test_all_censored_cannot_be_told():
    events = make_events(np.full((6, 3), 4), 5)
    nulls = {kind: NullDraws(kind, events.layer[None], events) for kind in PATH_NULLS}
    assert verdict(nulls).verdict == "cannot be told here"


def test_bad_input_is_refused():
    null = some_null()
    with pytest.raises(InputError, match="missing: exchanged. Draw them with draw_nulls"):
        verdict({"rotated": null})
    with pytest.raises(InputError, match="margin must be above 0, got 0"):
        verdict({"rotated": null, "exchanged": null}, margin=0.0)
    with pytest.raises(
        InputError, match="Unknown statistic 'tau'; known are concordance, comparable"
    ):
        excess(null, statistic="tau")
