"""Which scan is used, what is kept of a model, and that nothing else depends on it."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

import satlens
from satlens.errors import InputError
from satlens.lenses import LogitLens
from satlens.models.readout import LinearReadout, is_linear
from satlens.saturation import method
from satlens.saturation.detect import stream
from satlens.saturation.method import Scan, calibrate
from tests.builders import random_bridge, random_hf, random_hooked

DOCS = [list(range(1, 20)), [5, 4, 3], [7] * 12]


def same(a, b):
    return np.array_equal(a.layer, b.layer) and np.array_equal(a.token, b.token)


@pytest.mark.parametrize("kind", ["hooked", "bridge", "gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_method_gives_the_same_events(kind, dtype):
    if kind == "hooked":
        host = random_hooked(n_layers=5, d=16, vocab=60, seed=0, dtype=dtype)
    elif kind == "bridge":
        host = random_bridge(5, 16, 60, 0, dtype=dtype)
    else:
        host = random_hf(kind).to(dtype)
    model = satlens.wrap(host)
    docs = [torch.tensor(doc) % model.n_outputs for doc in DOCS]
    want = satlens.detect(model, docs, k=7, method="plain")
    for name in ("backward", "certified", "auto"):
        assert same(satlens.detect(model, docs, k=7, method=name), want)
    (_, with_logits), *_ = stream(model, docs, k=7, method="certified", batch_size=8)
    assert np.array_equal(
        with_logits.layer[np.lexsort((with_logits.pos, with_logits.doc))], want.layer
    )


def test_the_final_ranking_is_the_models_own():
    """But for outputs that the model's own type can hardly tell apart."""
    model = satlens.wrap(random_hooked(n_layers=4, d=32, vocab=200, seed=0))
    for states, events in stream(model, DOCS, k=5):
        assert np.array_equal(events.token, states.logits.topk(5).indices.numpy())


def test_an_unknown_method():
    with pytest.raises(InputError, match="one of auto, plain, backward, certified; got 'x'"):
        satlens.detect(random_hooked(2, 8, 20), DOCS, method="x")


def test_certified_needs_a_linear_map():
    model = random_hooked(n_layers=3, d=8, vocab=20, seed=0)
    own = satlens.wrap(model)
    wrapped = satlens.wrap(model, readout=lambda h: own.readout(h))
    with pytest.raises(
        InputError, match='method="certified" needs a lens that ends in a linear map'
    ):
        satlens.detect(wrapped, DOCS, method="certified")
    assert same(satlens.detect(wrapped, DOCS), satlens.detect(own, DOCS))


def test_a_hook_on_the_unembedding_is_seen():
    """It changes the scores, so W x + b is not the readout any more: the scan goes by the scores."""
    host = random_hooked(n_layers=3, d=8, vocab=20, seed=0)
    model, plain = satlens.wrap(host), satlens.detect(host, DOCS)
    assert Scan(LogitLens(model)).linear
    handle = host.unembed.register_forward_hook(lambda module, inputs, out: -out)
    try:
        assert not Scan(LogitLens(model)).linear
        turned = satlens.detect(model, DOCS)
        assert not np.array_equal(turned.token, plain.token)
        with pytest.raises(InputError, match="its unembedding is hooked"):
            satlens.detect(model, DOCS, method="certified")
    finally:
        handle.remove()
    assert same(satlens.detect(model, DOCS, method="certified"), plain)


def test_a_readout_that_is_not_its_linear_map_is_noticed():
    """A head of a kind of its own, or a step behind it that turns the order around."""

    class Odd(nn.Linear):
        def forward(self, x):
            return super().forward(x).abs()

    host = random_hf("gpt2")
    host.lm_head.__class__ = Odd
    assert not Scan(LogitLens(satlens.wrap(host))).linear
    states = torch.randn(5, 32, generator=torch.manual_seed(0))
    norm = nn.LayerNorm(32)
    for step, fine in (
        (lambda z: 2 * z, True),
        (torch.tanh, True),
        (lambda z: -z, False),
        (torch.abs, False),
    ):
        readout = LinearReadout((norm,), nn.Linear(32, 50), (step,))
        assert is_linear(readout, states, 1e-3) is fine


def test_what_is_built_once_is_kept_and_made_again_for_other_weights():
    host = random_hooked(n_layers=3, d=16, vocab=300, seed=0)
    scan = Scan(LogitLens(satlens.wrap(host)), "certified")
    kept = scan.static.screen(scan.kind)
    again = Scan(LogitLens(satlens.wrap(host)), "certified")
    assert again.static.screen(again.kind) is kept
    for edit in (
        lambda w: w.__setitem__((0, 0), w[0, 0] + 1e-3),
        lambda w: w.copy_(w.flip(0)),
        lambda w: w.copy_(w.flip(1)),
    ):
        edit(host.unembed.W_U.data)
        changed = Scan(LogitLens(satlens.wrap(host)), "certified")
        assert changed.static.screen(changed.kind) is not kept
        want = satlens.detect(host, DOCS, method="plain")
        assert same(satlens.detect(host, DOCS, method="certified"), want)
        kept = changed.static.screen(changed.kind)


def test_nothing_is_kept_of_a_model_that_is_gone():
    host = random_hooked(n_layers=2, d=8, vocab=20, seed=3)
    satlens.detect(host, DOCS, method="certified")
    before = len(method._STATICS)
    del host
    gc.collect()
    assert len(method._STATICS) < before


def test_the_machine_decides(monkeypatch):
    host = random_hooked(n_layers=2, d=8, vocab=20, seed=0)
    monkeypatch.setattr(method, "WORTH", 0)
    for seconds, want in [
        ({"float32": 1.0, "bfloat16": 0.5, "int8": 0.2}, ("certified", "int8")),
        ({"float32": 1.0, "bfloat16": 0.5, "int8": 0.9}, ("certified", "bfloat16")),
        ({"float32": 1.0, "bfloat16": 0.9, "int8": 0.8}, ("backward", "float32")),
        ({"float32": 1.0, "bfloat16": 0.5, "int8": float("inf")}, ("certified", "bfloat16")),
    ]:
        monkeypatch.setattr(method, "calibrate", lambda head, seconds=seconds: seconds)
        method._STATICS.clear()
        scan = Scan(LogitLens(satlens.wrap(host)))
        assert (scan.method, scan.kind) == want
    assert Scan(LogitLens(satlens.wrap(host)), "certified").kind == "bfloat16"
    method._STATICS.clear()


def test_calibration_times_every_precision():
    seconds = calibrate(LogitLens(satlens.wrap(random_hooked(2, 8, 50))).head())
    assert set(seconds) == {"float32", "bfloat16", "int8"}
    assert all(value > 0 for value in seconds.values())


def test_no_logits_are_made_where_none_are_asked_for(monkeypatch):
    host = random_hooked(n_layers=3, d=8, vocab=20, seed=0)
    model, ran = satlens.wrap(host), []
    forward = type(host.unembed).forward
    monkeypatch.setattr(
        type(host.unembed), "forward", lambda *a, **k: ran.append(1) or forward(*a, **k)
    )
    satlens.detect(model, DOCS)
    assert not ran
    next(stream(model, DOCS))
    assert ran
    states = model.states(next(iter(model.batches(DOCS, 3))), logits=False)
    assert states.logits.shape == (0, model.n_outputs) and len(states.resid) == 3
    assert all(not point._forward_hooks for point in model.hook_points)
