"""The sparse forward is the hard-gated one, on every kind of host it knows, for any gates."""

import functools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import satlens
from satlens.errors import InputError, ModelError
from satlens.routing import SparseForward, TokenGates
from tests.builders import (
    HAS_HOOKED,
    NO_HOOKED,
    random_bridge,
    random_hf,
    random_hooked,
    random_ids,
)

HOSTS = {
    "hooked": lambda: random_hooked(n_layers=4),
    "hooked, rotary, parallel": lambda: random_hooked(
        n_layers=4, parallel_attn_mlp=True, positional_embedding_type="rotary", rotary_dim=4
    ),
    "hooked, attention only": lambda: random_hooked(n_layers=4, attn_only=True),
    "bridge of gpt2": lambda: random_bridge(n_layers=4),
    "bridge of llama": lambda: random_bridge(n_layers=4, family="llama", num_key_value_heads=2),
    "gpt2": lambda: random_hf("gpt2", layers=4),
    "gpt_neox": lambda: random_hf("gpt_neox", layers=4),
    "mistral, window": lambda: random_hf("mistral", layers=4, sliding_window=5),
}
NEEDS_HOOKED = {"hooked, rotary, parallel", "hooked, attention only"}


@functools.cache
def built(kind):
    gates = TokenGates(satlens.wrap(HOSTS[kind]()))
    return gates, SparseForward(gates)


every_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=pytest.mark.skipif(kind in NEEDS_HOOKED and not HAS_HOOKED, reason=NO_HOOKED),
        )
        for kind in HOSTS
    ],
)


@torch.no_grad()
def hard(gates, ids, real, active):
    """The dense model with skipped additions set to zero."""
    args = {"input_ids": ids, "attention_mask": real.long()}
    rows = torch.zeros(len(ids), dtype=torch.long)
    batch = satlens.models.Batch(args, real, rows, rows, ids)
    with gates.attached("hard", (~active).float()):
        return gates.model.forward(batch)


def agree(got, want, real):
    scale = float(want[real].std())
    return torch.allclose(got[real], want[real], atol=2e-4 * scale, rtol=1e-3)


def drawn(lengths, share, seed):
    """Ids, which are real, and who runs."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.tensor(one) for one in random_ids(50, lengths, seed)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    real = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    active = torch.rand(3, *ids.shape, generator=generator) < share
    return ids, real, active


@every_kind
@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_it_is_the_hard_gated_model_for_any_gates(kind, lengths, share, seed):
    gates, forward = built(kind)
    ids, real, active = drawn(lengths, share, seed)
    found = forward(ids, real=real, active=active)
    assert torch.equal(found.active, active & real)
    assert agree(found.logits, hard(gates, ids, real, active), real)


@every_kind
def test_the_routers_decide(kind):
    gates, forward = built(kind)
    ids = torch.tensor(random_ids(50, [12, 12, 12]))
    with torch.no_grad():
        for index, router in enumerate(gates.routers):
            generator = torch.Generator().manual_seed(index)
            torch.nn.init.normal_(router.up.weight, 0, 20, generator=generator)
            torch.nn.init.normal_(router.down.weight, 0, 3, generator=generator)
        with gates.attached("hard") as run:
            (batch,) = gates.model.batches(ids, 3, include_bos=True)
            want = gates.model.forward(batch)
        assert float((run.skip - 0.5).abs().min()) > 1e-4, "a near tie: take another seed"
    found = forward(ids)
    assert 0 < int(found.active.sum()) < found.active.numel()
    assert torch.equal(found.active, run.active.bool())
    assert agree(found.logits, want, torch.ones_like(ids, dtype=torch.bool))


def test_a_token_that_skips_is_not_computed(monkeypatch):
    """What goes through the MLP, counted."""
    gates, forward = built("gpt2")
    ids, real, active = drawn([12, 7], 0.4, 1)
    counted = []

    def count(block):
        mlp = block.mlp
        return lambda x: counted.append(len(x)) or mlp(x)

    for block in forward.decoder.blocks:
        own = count(block)
        monkeypatch.setitem(vars(block), "mlp", own)
    forward(ids, real=real, active=active)
    assert counted == [ids.numel(), *(int(one.sum()) for one in active & real)]


def test_a_token_that_skips_everything_leaves_with_the_state_of_block_0():
    gates, forward = built("gpt2")
    ids = torch.tensor(random_ids(50, [9]))
    found = forward(ids, active=torch.zeros(3, 1, 9, dtype=torch.bool))
    (batch,) = gates.model.batches(ids, 1, include_bos=True)
    first = gates.model.readout(gates.model.states(batch).resid[0])
    assert torch.allclose(found.logits[0], first, atol=1e-4)


def test_in_bfloat16():
    gates = TokenGates(random_bridge(n_layers=4, scale=1.0, dtype=torch.bfloat16))
    ids, real, active = drawn([12, 7], 0.5, 2)
    found = SparseForward(gates)(ids, real=real, active=active)
    want = hard(gates, ids, real, active)
    assert found.logits.dtype == torch.bfloat16
    off = (found.logits.float() - want.float())[real].abs().max()
    assert float(off) < 0.1 * float(want.float().std())


def test_what_it_cannot_do_it_says():
    gates, forward = built("gpt2")
    ids = torch.tensor(random_ids(50, [5]))
    for bad, message in [
        (dict(ids=ids.float()), "whole numbers"),
        (dict(ids=torch.zeros(1, 0, dtype=torch.long)), "whole numbers"),
        (dict(ids=torch.zeros(1, 40, dtype=torch.long)), "Rows of 40 tokens; the context is 32"),
        (dict(ids=ids + 50), "0 to 49 exist"),
        (dict(ids=ids, real=torch.tensor([[False, True, True, True, True]])), "end of a row"),
        (dict(ids=ids, active=torch.ones(3, 1, 5)), r"active is bool \[3, 1, 5\]"),
    ]:
        with pytest.raises(InputError, match=message):
            forward(**bad)
    with gates.attached("hard"), pytest.raises(ModelError, match="hooks on"):
        SparseForward(gates)
    with pytest.raises(ModelError, match="does not know the blocks"):
        SparseForward(TokenGates(random_bridge(family="gemma2")))
