"""`untrained`: the same kind and shape, the architecture's own start, nothing shared."""

import math

import pytest
import torch
from torch import nn

from satlens.errors import ModelError
from satlens.models import load_model, untrained, wrap
from satlens.zoo.lstm import LSTMConfig, ResidualLSTM
from tests.builders import (
    HAS_HOOKED,
    NO_HOOKED,
    random_bridge,
    random_hf,
    random_hooked,
    random_hooked_encoder,
    random_native,
    random_other,
    random_other_hf,
)
from tests.models.test_inputs import make_tokenizer

needs_hooked = pytest.mark.skipif(not HAS_HOOKED, reason=NO_HOOKED)

HOSTS = {
    "hooked": random_hooked,
    "gpt2-bridge": random_bridge,
    "llama-bridge": lambda: random_bridge(family="llama"),
    "neox-bridge": lambda: random_bridge(family="gpt_neox"),
    "native-bridge": random_native,
    "bert-bridge": lambda: random_other("bert"),
    "bart-bridge": lambda: random_other("bart"),
    "vit-bridge": lambda: random_other("vit"),
    "hf-gpt2": random_hf,
    "hf-llama": lambda: random_hf("llama"),
    "hf-bert": lambda: random_other_hf("bert"),
    "hf-t5": lambda: random_other_hf("t5"),
    "hf-bart": lambda: random_other_hf("bart"),
    "hf-mamba": lambda: random_hf("mamba"),
    "mamba-bridge": lambda: random_bridge(family="mamba"),
    "lstm": lambda: ResidualLSTM(LSTMConfig(50, 16, 12)).eval(),
}
if HAS_HOOKED:
    HOSTS |= {
        "hooked-encoder": lambda: random_hooked_encoder("bert"),
        "hooked-encoder-decoder": lambda: random_hooked_encoder("t5"),
    }
else:
    HOSTS["t5-bridge"] = lambda: random_other("t5")


def tensors(host: nn.Module) -> dict[str, torch.Tensor]:
    return dict(host.named_parameters()) | dict(host.named_buffers())


@pytest.mark.parametrize("name", HOSTS)
def test_same_kind_fresh_weights_nothing_shared(name):
    host = HOSTS[name]()
    before = {key: value.clone() for key, value in host.named_parameters()}
    state = torch.random.get_rng_state()
    fresh = untrained(wrap(host), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)

    assert type(fresh) is type(host)
    assert not fresh.training
    own = dict(fresh.named_parameters())
    assert {k: (v.shape, v.dtype, v.device) for k, v in own.items()} == {
        k: (v.shape, v.dtype, v.device) for k, v in before.items()
    }
    theirs = {value.data_ptr() for value in tensors(host).values() if value.numel()}
    assert not theirs & {value.data_ptr() for value in tensors(fresh).values() if value.numel()}
    for key, value in own.items():
        if value.ndim > 1 and float(value.detach().std()) > 0:
            assert not torch.equal(value, before[key]), key

    with torch.no_grad():
        for value in own.values():
            value.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in host.named_parameters())

    again, other = untrained(host, seed=3), untrained(host, seed=4)
    wrapped = [wrap(h) for h in (again, untrained(host, seed=3), other)]
    batch = next(iter(wrapped[0].batches(wrapped[0].example, 1)))
    logits = [model.states(batch).logits for model in wrapped]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
    assert wrapped[0].n_layers == wrap(host).n_layers


def std(host: nn.Module, name: str) -> float:
    return float(dict(host.named_parameters())[name].detach().std())


@needs_hooked
def test_a_hooked_transformer_of_your_own_keeps_its_own_rule():
    fresh = untrained(random_hooked(d=64, scale=5.0))
    assert std(fresh, "blocks.0.mlp.W_in") == pytest.approx(0.8 / 8, rel=0.05)


def test_a_loaded_llama_starts_as_llama_does(tmp_path):
    hf = random_hf("llama", d=64, initializer_range=0.05)
    hf.save_pretrained(tmp_path)
    fresh = [untrained(load_model(tmp_path)), untrained(hf)]
    for host, name in zip(fresh, NAMES["llama"], strict=True):
        assert std(host, name) == pytest.approx(0.05, rel=0.05)


NAMES = {
    "llama": (
        "blocks.0.mlp.W_in"
        if HAS_HOOKED
        else "model.layers.0._original_component.mlp._original_component.up_proj"
        "._original_component.weight",
        "model.layers.0.mlp.up_proj.weight",
    ),
}


@needs_hooked
def test_a_loaded_gpt2_divides_what_writes_and_ties_its_head(tmp_path):
    random_hf("gpt2", d=64, layers=4).save_pretrained(tmp_path)
    fresh = untrained(load_model(tmp_path))
    assert std(fresh, "blocks.1.mlp.W_in") == pytest.approx(0.02, rel=0.05)
    for name in ("blocks.1.attn.W_O", "blocks.1.mlp.W_out"):
        assert std(fresh, name) == pytest.approx(0.02 / math.sqrt(8), rel=0.05)
    assert torch.equal(fresh.W_U, fresh.W_E.T)
    assert fresh.W_U.data_ptr() != fresh.W_E.data_ptr()


@needs_hooked
def test_an_untied_head_stays_untied(tmp_path):
    random_hf("gpt_neox").save_pretrained(tmp_path)
    fresh = untrained(load_model(tmp_path))
    assert not torch.equal(fresh.W_U, fresh.W_E.T)


@pytest.mark.parametrize("bridge", [False, True])
def test_tokenizer_and_bos_are_carried_over(tmp_path, bridge):
    random_hf("gpt_neox").save_pretrained(tmp_path)
    make_tokenizer(bos_token="<s>").save_pretrained(tmp_path)
    host = load_model(tmp_path, bridge=bridge)
    fresh = untrained(host)
    assert fresh.tokenizer is host.tokenizer
    rows = [next(iter(wrap(m).batches("a b", 1))).tokens.tolist() for m in (host, fresh)]
    assert rows[0] == rows[1] == [[3, 4]]  # NeoX is trained without a BOS


@pytest.mark.parametrize("build", [random_hooked, random_bridge])
def test_half_precision_is_kept(build):
    host = build(dtype=torch.bfloat16)
    fresh = untrained(host)
    assert {p.dtype for p in fresh.parameters()} == {torch.bfloat16}
    wrap(fresh)


def test_dropout_is_off():
    fresh = wrap(untrained(random_hf("gpt2", resid_pdrop=0.5)))
    (batch,) = fresh.batches([[1, 2, 3]], 1)
    assert torch.equal(fresh.states(batch).logits, fresh.states(batch).logits)


def test_a_host_that_cannot_be_built_anew():
    with pytest.raises(ModelError, match=r"cannot build a Linear anew; pass a TransformerLens"):
        untrained(nn.Linear(2, 2))
