"""Encoders, encoder-decoders and Mamba: the same events bare, as a bridge, and in TransformerLens 3."""

import warnings
from dataclasses import replace

import pytest
import torch

import satlens
from satlens.errors import ModelError, ReadoutError
from satlens.models import with_masks, wrap
from tests.builders import (
    HAS_HOOKED,
    NO_HOOKED,
    random_hf,
    random_hooked_encoder,
    random_ids,
    random_other_hf,
    to_bridge,
)
from tests.contracts.residual_model import CLOSE, spread
from tests.models.test_same_events import assert_same

needs_hooked = pytest.mark.skipif(not HAS_HOOKED, reason=NO_HOOKED)
NEW_T5 = "T5 bridges with transformers >= 5.15 need TransformerLens >= 4.3"
DOCUMENTS = random_ids(50, [5, 12, 3, 30])
PAIRS = [
    (source, [0, *target])
    for source, target in zip(
        random_ids(50, [4, 9, 2, 20]), random_ids(50, [6, 3, 8, 20], seed=1), strict=True
    )
]


@pytest.mark.parametrize("seed", [0, 1])
def test_bert_bare_and_bridged(seed):
    host = random_other_hf("bert", seed)
    bare = satlens.detect(host, DOCUMENTS)
    assert 0.1 < bare.censored.mean() < 0.95
    assert_same(satlens.detect(to_bridge(host), DOCUMENTS), bare)
    masked = [
        satlens.detect(with_masks(one, mask=7), [[3, 7, 7, 9]]) for one in (host, to_bridge(host))
    ]
    assert_same(*masked)


def hooked_bert(host):
    """The same weights as a HookedEncoder."""
    from transformer_lens.pretrained.weight_conversions.bert import convert_bert_weights

    fresh = random_hooked_encoder("bert")
    host.bert.pooler = torch.nn.Module()
    host.bert.pooler.dense = torch.nn.Linear(32, 32)
    host.cls.seq_relationship = torch.nn.Linear(32, 2)
    weights = convert_bert_weights(host, fresh.cfg)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        missing, spare = fresh.load_state_dict(weights, strict=False)
    assert not spare
    assert not [name for name in missing if "mask" not in name and "IGNORE" not in name]
    return fresh.eval()


@needs_hooked
def test_bert_as_hooked_encoder():
    host = random_other_hf("bert")
    host.config.layer_norm_eps = 1e-5
    for module in host.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5  # HookedEncoder's
    bare = satlens.detect(host, DOCUMENTS)
    assert_same(satlens.detect(hooked_bert(host), DOCUMENTS), bare)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_the_state_is_behind_the_last_norm_of_its_block(kind):
    """The post-norm trap: the sum before the norm is read by nothing, and is refused as the state."""
    host = random_other_hf(kind)
    model = wrap(host)
    (batch,) = model.batches([[3, 5, 9]], 1)
    states = model.states(batch)
    hidden = host(**batch.args, output_hidden_states=True).hidden_states
    norm = "output_layer_norm" if kind == "distilbert" else "output.LayerNorm"
    layers = (
        host.distilbert.transformer if kind == "distilbert" else host.base_model.encoder
    ).layer
    for layer, block in enumerate(layers):
        seen = {}
        handle = block.get_submodule(norm).register_forward_hook(
            lambda _m, inputs, output, seen=seen: seen.update(before=inputs[0], after=output)
        )
        host(**batch.args)
        handle.remove()
        assert torch.equal(states.resid[layer], seen["after"][0])
        assert torch.equal(states.resid[layer], hidden[layer + 1][0])
        assert not torch.allclose(states.resid[layer], seen["before"][0], atol=1e-2)
    wrong = (model.readout(seen["before"][0]) - states.logits).abs().max()
    assert float(wrong) > 1000 * CLOSE * spread(states.logits)


@needs_hooked
def test_the_state_of_a_hooked_encoder_before_its_norm_is_refused():
    host = random_hooked_encoder("bert")
    model = wrap(host)
    before = tuple(block.hook_resid_post for block in host.blocks)
    with pytest.raises(ReadoutError, match="does not give the model's own logits"):
        wrap(replace(model, hook_points=before), readout=model.readout)


@needs_hooked
def test_a_host_whose_own_types_do_not_go_together_says_so():
    """HookedEncoderDecoder keeps a float32 table of positions beside bfloat16 weights."""
    host = random_hooked_encoder("t5").to(torch.bfloat16)
    with pytest.raises(
        ModelError, match=r"forward pass of .* fails on a short input \(RuntimeError"
    ):
        wrap(host)


@pytest.mark.parametrize("kind", ["t5", "t5-untied", "bart", "mbart"])
def test_encoder_decoders_bare_and_bridged(kind):
    if HAS_HOOKED and kind.startswith("t5"):
        pytest.skip(NEW_T5)
    host = random_other_hf(kind)
    bare = satlens.detect(host, PAIRS)
    assert len(bare) == sum(len(target) - 1 if target[0] == 0 and kind.startswith("t5") else len(target)
                            for _, target in PAIRS)  # fmt: skip
    assert 0.1 < bare.censored.mean() < 0.95
    assert_same(satlens.detect(to_bridge(host), PAIRS), bare)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["t5", "bart", "mbart", "marian"])
def test_decoder_states_are_those_that_transformers_names(kind):
    host = random_other_hf(kind)
    model = wrap(host)
    (batch,) = model.batches(PAIRS[:1], 1, include_bos=True)
    states = model.states(batch)
    hidden = host(**batch.args, output_hidden_states=True, use_cache=False).decoder_hidden_states
    for layer in range(
        model.n_layers - 1
    ):  # the last of them is behind the final norm, where there is one
        assert torch.equal(states.resid[layer], hidden[layer + 1][0])


@pytest.mark.parametrize("seed", [0, 1])
def test_mamba_bare_and_bridged(seed):
    host = random_hf("mamba", seed, layers=4)
    bare = satlens.detect(host, DOCUMENTS)
    assert 0.1 < bare.censored.mean() < 0.95
    assert_same(satlens.detect(to_bridge(host), DOCUMENTS), bare)


@pytest.mark.parametrize("build", [random_hf, lambda kind: to_bridge(random_hf(kind))])
def test_mamba_has_no_context_that_binds(build):
    """A document of any length is one row, in both forms."""
    model = wrap(build("mamba"))
    assert model.context is None
    assert len(model.batches([[3] * 5000], 1).rows) == 1


@torch.no_grad()
@pytest.mark.parametrize("in_float32", [True, False])
@pytest.mark.parametrize("build", [lambda host: host, to_bridge], ids=["bare", "bridge"])
def test_the_type_of_mambas_stream(in_float32, build):
    """residual_in_fp32 keeps the sum in float32 below bfloat16 weights; the readout is the model's own."""
    model = wrap(build(random_hf("mamba", residual_in_fp32=in_float32).to(torch.bfloat16)))
    (batch,) = model.batches([[3, 5, 9]], 1)
    states = model.states(batch)
    assert states.resid.dtype == (torch.float32 if in_float32 else torch.bfloat16)
    assert torch.equal(model.readout(states.resid[-1]).float(), states.logits)
    events = [satlens.detect(model, DOCUMENTS, method=method) for method in ("plain", "certified")]
    assert_same(*events)
