"""A direction added at some places, and nothing else; and the direction itself, found when planted."""

import pytest
import torch

from hooks.mark_saturation import mark_saturation
from hooks.record_residual_states import record_residual_states
from hooks.steer_to_next_stage import stage_direction, steer_to_next_stage
from tests.builders import random_bridge, random_hooked
from tests.hooks.hosts import TOKENS, attached
from tests.hooks.plain import plain_run


def direction(model, seed=0, *size):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, model.cfg.d_model, generator=generator)


def places(model):
    n_layers = len(model.blocks)
    return [(0, 5), (n_layers // 2, 0), (n_layers - 1, 11)]


def test_it_is_what_plain_hooks_do(model):
    v = direction(model)
    for layer, pos in places(model):
        states, logits = steer_to_next_stage(
            model, TOKENS, pos, layer, v, -1.5, run=record_residual_states
        )
        assert torch.equal(steer_to_next_stage(model, TOKENS, pos, layer, v, -1.5), logits)
        for row in range(len(TOKENS)):
            want, answer = plain_run(model, TOKENS, (layer, row, pos, lambda x: x - 1.5 * v))
            assert torch.equal(states[:, row], want[:, row])
            assert torch.equal(logits[row], answer[row])


def test_it_changes_one_place_and_what_reads_it(model):
    clean, logits = plain_run(model, TOKENS)
    v = direction(model)
    for layer, pos in places(model):
        states, answer = steer_to_next_stage(
            model, TOKENS, pos, layer, v, 2.0, run=record_residual_states
        )
        assert torch.equal(states[layer, :, pos], clean[layer, :, pos] + 2.0 * v)
        assert torch.equal(states[:layer], clean[:layer]), "layers before"
        assert torch.equal(states[:, :, :pos], clean[:, :, :pos]), "positions before"
        other = torch.arange(TOKENS.shape[1]) != pos
        assert torch.equal(states[layer][:, other], clean[layer][:, other])
        assert not torch.equal(answer[:, pos], logits[:, pos])


def test_alpha_0_changes_nothing(model):
    clean, logits = record_residual_states(model, TOKENS)
    every = torch.arange(TOKENS.shape[1]).expand(len(TOKENS), -1)
    for layer in range(len(model.blocks)):
        states, answer = steer_to_next_stage(
            model, TOKENS, every, layer, direction(model), 0.0, run=record_residual_states
        )
        assert torch.equal(states, clean)
        assert torch.equal(answer, logits)


def test_places_of_each_row_and_several_in_one(model):
    """[batch] and [batch, m], layer and position; one direction for each layer."""
    last = len(model.blocks) - 1
    v = direction(model, 1, last + 1)
    pos, layer = torch.tensor([3, 8]), torch.tensor([last, 0])
    both = steer_to_next_stage(model, TOKENS, pos, layer, v, 1.0)
    for row in range(2):
        where, at = int(pos[row]), int(layer[row])
        alone = steer_to_next_stage(model, TOKENS, where, at, v[at], 1.0)
        assert torch.equal(both[row], alone[row])
    clean, _ = plain_run(model, TOKENS)
    for several in (torch.tensor([[2, -1], [0, 7]]), torch.tensor([[2, -1]])):
        states, _ = steer_to_next_stage(
            model, TOKENS, several, 0, v, 1.0, run=record_residual_states
        )
        want = clean[0].clone()
        for row, where in enumerate(several.expand(2, -1)):
            want[row, where] += v[0]
        assert torch.equal(states[0], want)
    twice = steer_to_next_stage(model, TOKENS, torch.tensor([[4, 4]]), 0, v, 1.0)
    assert torch.equal(twice, steer_to_next_stage(model, TOKENS, 4, 0, v, 1.0))
    one = steer_to_next_stage(model, TOKENS, torch.tensor([[4]]), torch.tensor([[0]]), v, 1.0)
    assert torch.equal(one, twice), "both given once: for every row"


def test_other_recipes_read_the_steered_model(model):
    """A push that drowns the state at the last layer gives every row the same answer there."""
    last, v = len(model.blocks) - 1, direction(model)
    layer, token = steer_to_next_stage(model, TOKENS, 6, last, v, 1e6, run=mark_saturation)
    assert torch.equal(token[0, 6], token[1, 6])
    _, own = mark_saturation(model, TOKENS)
    assert torch.equal(token[:, :6], own[:, :6])
    assert not torch.equal(token[:, 6], own[:, 6])


@pytest.mark.parametrize("layer", [-1, 99, torch.tensor([0, 99])])
def test_a_layer_the_model_lacks(model, layer):
    before = attached(model)
    last = len(model.blocks) - 1
    with pytest.raises(ValueError, match=rf"layer \[.*\]: the model has 0 \.\. {last}"):
        steer_to_next_stage(model, TOKENS, 0, layer, direction(model), 1.0)
    assert attached(model) == before


def test_no_hook_is_left_behind_after_an_error(model):
    before, v = attached(model), direction(model)
    with torch.no_grad():
        logits = model(TOKENS)

    def fails(*_):
        raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError, match="on purpose"):
        steer_to_next_stage(model, TOKENS, 0, 0, v, 1.0, run=fails)
    for tokens, pos, added in [
        (TOKENS, 12, v),  # no such position
        (TOKENS, torch.zeros(3, dtype=torch.long), v),  # three places for two rows
        (TOKENS, 0, v[:5]),  # a direction of another width
        (TOKENS + 50, 0, v),  # no such token
    ]:
        with pytest.raises((IndexError, RuntimeError)):
            steer_to_next_stage(model, tokens, pos, 0, added, 1.0)
    assert attached(model) == before
    with torch.no_grad():
        assert torch.equal(model(TOKENS), logits)


def test_hooks_of_the_caller_act_first_and_stay(model):
    clean, _ = plain_run(model, TOKENS)
    before, v, seen = attached(model), direction(model), []
    keep = ("blocks.0.hook_resid_post", lambda resid, hook: seen.append(resid))
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda resid, hook: resid * 2), keep]):
        inside = attached(model)
        states, _ = steer_to_next_stage(model, TOKENS, 5, 0, v, 1.0, run=record_residual_states)
        assert attached(model) == inside
    assert torch.equal(states[0, :, 5], clean[0, :, 5] * 2 + v)
    assert torch.equal(states[0, :, 6], clean[0, :, 6] * 2)
    assert torch.equal(seen[-1], clean[0] * 2), "what the caller keeps is not written into"
    assert attached(model) == before


@pytest.mark.parametrize("build", [random_hooked, random_bridge])
def test_a_model_of_lower_precision_takes_a_direction_in_float32(build):
    model = build(n_layers=3, dtype=torch.bfloat16)
    states, _ = steer_to_next_stage(
        model, TOKENS, 5, 1, direction(model), 1.0, run=record_residual_states
    )
    clean, _ = record_residual_states(model, TOKENS)
    assert states.dtype == torch.bfloat16
    assert not torch.equal(states[1, :, 5], clean[1, :, 5])


def test_a_planted_direction_is_found_and_without_one_there_is_none():
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(64, generator=generator)
    stage = torch.randint(1, 4, (3000,), generator=generator)
    noise = torch.randn(3000, 64, generator=generator) + 5.0
    planted = noise + (stage == 2)[:, None] * v - (stage == 3)[:, None] * 7.0
    found = stage_direction(planted, stage, 1)
    assert torch.cosine_similarity(found, v, dim=0) > 0.95
    assert 0.9 < found.norm() / v.norm() < 1.1
    assert stage_direction(noise, stage, 1).norm() < 0.1 * v.norm()
    moved = stage_direction(planted, stage, 2)
    assert torch.cosine_similarity(moved, -7.0 - v, dim=0) > 0.95


def test_a_stage_without_states_gives_no_direction():
    h, stage = torch.zeros(5, 3), torch.tensor([1, 1, 1, 3, 3])
    with pytest.raises(ValueError, match=r"stages 1 and 2 have \[3, 0\] states here"):
        stage_direction(h, stage, 1)
