"""Streams in which it is known what tells the stages apart: the matching control must say so."""

import numpy as np
import pytest
import torch

from satlens.probes.collect import Collected, StateCollector
from satlens.probes.controls import NAMES
from satlens.probes.features import final_features
from satlens.probes.probe import StageProbe
from satlens.probes.sampling import StageSampler
from satlens.probes.stages import stage_labels
from satlens.probes.summary import evaluate
from satlens.saturation.events import SaturationEvents
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN
from tests.order.planted import Readout, detect_states, noise_paths
from tests.probes.planted import noise_stream, planted_events, stage_stream

DOCUMENTS, TOKENS, L, K, D, VOCAB = 60, 12, 7, 2, 16, 12


def sampled(events, resid, features):
    sampler = StageSampler(150)
    sampler.update(resid, events, features)
    return sampler.finish()


def evaluated(events, resid, features, seed=99, **kw):
    """The report, with an untrained model and path nulls that hold nothing."""
    rng = np.random.default_rng(seed)
    n = len(events)
    others = {}
    for kind in ("untrained", "rotated", "exchanged"):
        own = planted_events(rng, DOCUMENTS, TOKENS, K, L, VOCAB)
        assert len(own) == n
        others[kind] = [sampled(own, noise_stream(rng, own, D), features)]
    real = sampled(events, resid, features)
    return evaluate(Collected(real, others, {}), stages=2, min_states=30, draws=2, **kw)


def a_world(seed=0):
    rng = np.random.default_rng(seed)
    events = planted_events(rng, DOCUMENTS, TOKENS, K, L, VOCAB)
    return rng, events, rng.exponential(size=(len(events), 3)).astype(np.float32)


def with_layers(events, layer):
    layer = np.clip(np.sort(layer, axis=1), 0, L - 1).astype(int)
    return SaturationEvents(
        layer, events.token, events.doc, events.pos, events.n_layers, input=events.input
    )


def holds_zero(estimate):
    return estimate.low <= 0 <= estimate.high


def test_a_stage_direction_in_the_stream_holds_against_every_control():
    rng, events, features = a_world()
    resid, directions = stage_stream(rng, events, D)
    found = evaluated(events, resid, features)
    assert [one["verdict"] for one in found.verdicts] == [HOLDS, HOLDS]
    assert found.pooled.accuracy.low > 0.85 and found.effect.low > 0.2
    assert all(
        one.accuracy.high < 0.6 for name, one in found.controls.items() if name != "control_task"
    )
    expected = directions[2] - directions[1]
    assert found.probe.normal(2) @ expected / np.linalg.norm(expected) > 0.95
    assert found.probe.normal(1) @ expected / np.linalg.norm(expected) < -0.95
    assert found.selectivity.low > 0.2


def test_without_a_path_null_nothing_can_be_told():
    rng, events, features = a_world()
    real = sampled(events, stage_stream(rng, events, D)[0], features)
    found = evaluate(Collected(real, {}, {}), stages=2, min_states=30, draws=1)
    assert found.effect.low > 0.2 and found.verdicts[0]["verdict"] == UNKNOWN
    assert found.verdicts[0]["why"].startswith("No path null could be drawn, so nothing says what")
    assert found.verdicts[1]["verdict"] == AS_PUBLISHED


def test_streams_that_hold_nothing_are_at_chance_and_so_is_every_control():
    """Over a dozen worlds: no bias, intervals that mostly hold chance, and no verdict that holds."""
    worlds = []
    for seed in range(12):
        rng, events, features = a_world(1000 + seed)
        worlds.append(evaluated(events, noise_stream(rng, events, D), features, seed=seed))
    parts = [[one.pooled for one in worlds], [one.per_layer for one in worlds]]
    parts += [[one.controls[name] for one in worlds] for name in NAMES]
    for part in parts:
        values = [one.accuracy.value for one in part]
        # One world's accuracy scatters by .01 to .025 around 1/2.
        assert abs(np.mean(values) - 0.5) < 3 * 0.025 / np.sqrt(12)
    inside = [one.accuracy.low <= 0.5 <= one.accuracy.high for part in parts for one in part]
    excess = [holds_zero(one.excess) for part in parts[2:] for one in part]
    # Not 0.95: the intervals draw documents again, but not the training.
    assert np.mean(inside) > 0.8 and np.mean(excess) > 0.8
    assert {one.verdicts[0]["verdict"] for one in worlds} == {FAILS}


def a_layer_world(seed):
    """States that say the layer, and stages that go with it."""
    rng, events, features = a_world(seed)
    late = with_layers(events, np.array([[2, 5]]) + rng.integers(-2, 3, (len(events), 2)))
    directions = np.linalg.qr(rng.standard_normal((D, D)))[0][:L]
    resid = 4 * directions[:, None] + noise_stream(rng, late, D)
    label = stage_labels(late).label
    before = np.bincount(label[:, 1], minlength=4), np.bincount(label[:, 4], minlength=4)
    assert before[0][1] > 2 * before[0][2] and before[1][2] > 2 * before[1][1]
    return late, resid.astype(np.float32), features


def test_the_layer_alone_is_no_stage():
    """Balancing takes all of it away; without balancing the very same probe would find it."""
    worlds = [evaluated(*a_layer_world(2000 + seed), seed=seed) for seed in range(6)]
    values = [one.pooled.accuracy.value for one in worlds]
    assert abs(np.mean(values) - 0.5) < 3 * 0.018 / np.sqrt(6)
    assert np.mean([holds_zero(one.controls["layer"].excess) for one in worlds]) > 0.6
    assert {one.verdicts[0]["verdict"] for one in worlds} == {FAILS}
    raw = sampled(*a_layer_world(2000))
    raw = raw.take(raw.stage <= 2)
    assert StageProbe().fit(raw.state, raw.stage).score(raw.state, raw.stage) > 0.6


def test_the_token_alone_is_caught_by_its_identity():
    """Each token type has its own saturation layers, and the state is the token's embedding."""
    rng, events, features = a_world(3)
    own = rng.integers(0, L - 1, (VOCAB, 2))
    late = with_layers(events, own[events.input] + rng.integers(0, 2, (len(events), 2)))
    embedding = rng.standard_normal((VOCAB, D)).astype(np.float32) * 3
    resid = embedding[late.input] + 0.3 * noise_stream(rng, late, D)
    found = evaluated(late, resid, features)
    assert found.pooled.accuracy.low > 0.65
    identity = found.controls["identity"]
    assert identity.accuracy.low > 0.65 and holds_zero(identity.excess)
    assert found.controls["margin"].excess.low > 0.1  # and by no other
    assert found.controls["rotated"].excess.low > 0.1
    assert found.verdicts[0]["verdict"] == FAILS and found.strictest == "identity"
    assert found.verdicts[1]["verdict"] == AS_PUBLISHED


def test_the_final_margin_alone_is_caught():
    """Wide margins are fixed early, and the state says nothing but the margin."""
    rng, events, features = a_world(4)
    start = L - 1.5 - 1.5 * np.log1p(3 * features[:, :2])
    late = with_layers(events, start + rng.normal(0, 0.3, (len(events), 2)))
    mixing = rng.standard_normal((features.shape[1], D))
    resid = np.log(features + 0.1) @ mixing + 0.3 * noise_stream(rng, late, D)
    found = evaluated(late, resid.astype(np.float32), features)
    assert found.pooled.accuracy.low > 0.65
    margin = found.controls["margin"]
    assert margin.accuracy.low > 0.65 and margin.excess.low <= 0.02
    assert found.controls["identity"].excess.low > 0.1
    assert found.controls["rotated"].excess.low > 0.1
    assert found.verdicts[0]["verdict"] == FAILS and found.strictest == "margin"


def on_paths(seed, marker):
    """Noise that converges on the final state, and the null states made of it.

    ``marker`` adds what noise does not have: a coordinate with the stage, which no score reads.
    """
    generator = torch.Generator().manual_seed(seed)
    resid, doc = noise_paths(generator, documents=40, tokens=20, n_layers=8, d=16)
    weight = torch.randn(40, 17, generator=generator)
    weight[:, -1] = 0

    def scores(states, layer):
        return states @ weight.T

    resid = torch.cat([resid, torch.zeros(*resid.shape[:2], 1)], dim=-1)
    events = detect_states(resid, scores, doc, k=2)
    if marker:
        stage = torch.from_numpy(stage_labels(events).label.T.astype(np.float32))
        resid[..., -1] = marker * stage + torch.randn(stage.shape, generator=generator)
    collector = StateCollector(scores, per_cell=200, draws=3, block_bytes=2**18)
    features = final_features(scores(resid[-1], 7), 2)
    for rows in np.array_split(np.arange(len(events)), 9):
        collector.update(resid[:, rows], events[rows], features[rows])
    return evaluate(collector.finish(), stages=2, min_states=30, draws=2)


def test_noise_that_converges_is_no_stage():
    worlds = [on_paths(seed, marker=0) for seed in range(6)]
    for kind in ("rotated", "exchanged"):
        controls = [one.controls[kind] for one in worlds]
        assert all(one.in_verdict and len(one.values) == 3 for one in controls)
        assert abs(np.mean([one.excess.value for one in controls])) < 0.03
    # Above each path null alone a single world may be; above the strictest control none is.
    assert {one.verdicts[0]["verdict"] for one in worlds} == {FAILS}
    notes = worlds[0].notes
    assert "untrained: not available. No such states were collected." in notes
    assert worlds[0].verdicts[0]["why"].endswith(" Not compared with: untrained (see the notes).")


def test_what_noise_does_not_have_stands_out_from_the_path_nulls():
    found = on_paths(0, marker=2.5)
    assert found.pooled.accuracy.low > 0.8
    for kind in ("rotated", "exchanged"):
        assert found.controls[kind].excess.low > 0.2
    assert found.verdicts[0]["verdict"] == HOLDS


@pytest.mark.parametrize("per_cell, batch", [(20, 7), (50, 100)])
def test_null_states_are_those_of_the_sampler_of_nulls(per_cell, batch):
    """The same draws as `NullSampler` gives: same layers for the same tokens."""
    from satlens.nulls import NullSampler

    generator = torch.Generator().manual_seed(0)
    resid, doc = noise_paths(generator, documents=6, tokens=10, n_layers=6, d=8)
    scores = Readout(torch.randn(12, 8, generator=generator))
    events = detect_states(resid, scores, doc, k=2)
    features = final_features(scores(resid[-1], 5), 2)
    collector = StateCollector(scores, per_cell=per_cell, draws=2, block_bytes=6 * 20 * 8 * 4)
    sampler = NullSampler(
        scores, kinds=("rotated", "exchanged"), draws=2, block_bytes=6 * 20 * 8 * 4
    )
    for start in range(0, len(events), batch):
        rows = slice(start, start + batch)
        collector.update(resid[:, rows], events[rows], features[rows])
        sampler.update(resid[:, rows], events[rows])
    nulls, found = sampler.finish(), collector.finish()
    for kind in ("rotated", "exchanged"):
        for i, data in enumerate(found.others[kind]):
            label = stage_labels(nulls[kind].draw(i)).label
            at = {pos: row for row, pos in enumerate(nulls[kind].events.pos.tolist())}
            rows = [at[pos] for pos in data.pos.tolist()]
            assert (label[rows, data.layer] == data.stage).all()
            assert (data.counts.table == stage_labels(nulls[kind].draw(i)).table()).all()
            assert (data.features == features.numpy()[data.pos]).all()
