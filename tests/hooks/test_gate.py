"""Blocks gated per token, against `satlens.routing` and against the model itself."""

import pytest
import torch

from hooks.gate_block_per_token import gate_block_per_token
from hooks.record_residual_states import record_residual_states
from satlens.routing import TokenGates
from tests.hooks.hosts import TOKENS, attached


def given(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = range(1, len(model.blocks))
    return {layer: torch.rand(TOKENS.shape, generator=generator) for layer in layers}


@torch.no_grad()
def test_it_is_what_token_gates_do(model):
    skip = given(model)
    logits, used = gate_block_per_token(model, TOKENS, skip)
    assert list(used) == list(skip)
    if not skip:
        assert torch.equal(logits, model(TOKENS))
        return
    gates = TokenGates(model)
    with gates.attached("soft", torch.stack(list(skip.values()))):
        assert torch.equal(model(TOKENS), logits)
    routers = {layer: gates.routers[layer - 1] for layer in skip}
    logits, used = gate_block_per_token(model, TOKENS, routers)
    with gates.attached("soft") as run:
        assert torch.equal(model(TOKENS), logits)
    assert torch.equal(run.skip, torch.stack([used[layer] for layer in skip]))


@torch.no_grad()
def test_a_block_that_is_skipped_is_the_identity_and_one_that_is_not_is_the_model(model):
    clean, logits = record_residual_states(model, TOKENS)
    zeros, ones = torch.zeros(TOKENS.shape), torch.ones(TOKENS.shape)
    nothing, _ = gate_block_per_token(model, TOKENS, dict.fromkeys(given(model), zeros))
    assert torch.equal(nothing, logits)
    for layer in given(model):
        (states, _), _ = gate_block_per_token(
            model, TOKENS, {layer: ones}, run=record_residual_states
        )
        assert torch.equal(states[:layer], clean[:layer])
        assert torch.equal(states[layer], clean[layer - 1])


def test_nothing_is_left_behind_and_gradients_flow(model):
    before = attached(model)
    router = torch.nn.Linear(model.cfg.d_model, 1)
    if len(model.blocks) > 1:
        ask = {1: lambda h: torch.sigmoid(router(h))[..., 0]}
        logits, _ = gate_block_per_token(model, TOKENS, ask)
        logits.square().mean().backward()
        assert float(router.weight.grad.abs().sum()) > 0
    with pytest.raises(ValueError, match=rf"block 9: the model has 0 \.\. {len(model.blocks) - 1}"):
        gate_block_per_token(model, TOKENS, {9: torch.zeros(TOKENS.shape)})
    with pytest.raises(ValueError, match="can be gated by a function"):
        gate_block_per_token(model, TOKENS, {0: lambda h: h[..., 0]})
    with pytest.raises(RuntimeError):
        gate_block_per_token(model, TOKENS, {0: torch.zeros(5, 7)})
    assert attached(model) == before
