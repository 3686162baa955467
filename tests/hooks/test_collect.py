"""States come with the stage they are in, each exactly once, from every kind of host."""

import pytest
import torch

import satlens
from hooks.collect_stage_states import collect_stage_states
from hooks.mark_saturation import mark_saturation
from hooks.record_residual_states import record_residual_states
from satlens.saturation.stages import stage_of
from tests.builders import random_hooked
from tests.hooks.hosts import TOKENS, attached
from tests.hooks.plain import plain_run, plain_stage


def test_every_state_below_the_output_is_there_with_its_stage(model):
    layer, _ = mark_saturation(model, TOKENS, k=3)
    h, stage, at, row = collect_stage_states(model, TOKENS, layer)
    states, _ = plain_run(model, TOKENS)
    want = [
        (block, b, p)
        for block in range(len(model.blocks) - 1)
        for b in range(len(TOKENS))
        for p in range(TOKENS.shape[1])
    ]
    assert at.tolist() == [block for block, _, _ in want]
    assert row.tolist() == [b for _, b, _ in want]
    assert stage.tolist() == [plain_stage(layer[b, p].tolist(), block) for block, b, p in want]
    assert h.shape == (len(want), states.shape[-1])
    for got, place in zip(h, want, strict=True):
        assert torch.equal(got, states[place])


def test_stages_are_those_of_satlens(model):
    layer, _ = mark_saturation(model, TOKENS, k=3)
    _, stage, at, row = collect_stage_states(model, TOKENS, layer)
    events = satlens.detect(model, TOKENS, k=3, include_bos=True)
    want = stage_of(events.layer, events.n_layers)[:, :-1]
    assert stage.tolist() == want.T.ravel().tolist()
    assert at.tolist() == [block for block in range(want.shape[1]) for _ in range(len(want))]
    assert row.tolist() == events.doc.tolist() * want.shape[1]


@pytest.mark.parametrize(
    ("saturation", "stages"),
    [
        ([0, 2, 3], [1, 2, 2, 3]),  # at l = 0 rank 1 is not fixed BEFORE l
        ([1, 1, 4], [1, 1, 3, 3]),  # a tie: no layer is in stage 2
        ([2, 0, 1], [1, 1, 1, 4]),  # out of order: ranks 2 and 3 wait for rank 1
        ([4, 4, 4], [1, 1, 1, 1]),
        ([0, 0, 0], [1, 4, 4, 4]),
    ],
)
def test_stages_of_known_layers(saturation, stages):
    model = random_hooked(n_layers=5)
    layer = torch.tensor(saturation).expand(*TOKENS.shape, 3)
    _, stage, at, _ = collect_stage_states(model, TOKENS, layer)
    assert [stage[at == block].unique().tolist() for block in range(4)] == [[s] for s in stages]
    assert [plain_stage(saturation, block) for block in range(4)] == stages


def test_marked_and_padded_positions_are_left_out(model):
    layer, _ = mark_saturation(model, TOKENS, k=2)
    before = layer.clone()
    mask = torch.ones_like(TOKENS)
    mask[1, 9:] = 0
    masked, _ = record_residual_states(model, TOKENS, attention_mask=mask)
    h, _, at, row = collect_stage_states(model, TOKENS, layer, attention_mask=mask)
    assert torch.equal(h, masked[:-1][:, mask.bool()].flatten(0, 1))
    assert ((row == 1).sum(), (row == 0).sum()) == (9 * len(at.unique()), 12 * len(at.unique()))
    layer[:, 0] = -1
    h, *_ = collect_stage_states(model, TOKENS, layer)
    states, _ = plain_run(model, TOKENS)
    assert torch.equal(h, states[:-1, :, 1:].flatten(0, 2))
    assert torch.equal(layer[:, 1:], before[:, 1:]), "the layers given are the caller's"


def test_one_block_has_nothing_below_the_output():
    model = random_hooked(n_layers=1)
    h, stage, at, row = collect_stage_states(model, TOKENS, torch.zeros(*TOKENS.shape, 2))
    assert h.shape == (0, model.cfg.d_model)
    assert len(stage) == len(at) == len(row) == 0


def test_layers_of_other_tokens_are_refused_and_no_hook_stays(model):
    """Labels of a filtered text do not fit the states of the whole one."""
    before = attached(model)
    layer, _ = mark_saturation(model, TOKENS, k=2)
    with pytest.raises((IndexError, RuntimeError)):
        collect_stage_states(model, TOKENS, layer[:, 3:])
    with pytest.raises((IndexError, RuntimeError)):
        collect_stage_states(model, TOKENS + 50, layer)
    assert attached(model) == before


def test_hooks_of_the_caller_act_first_and_stay(model):
    layer, _ = mark_saturation(model, TOKENS, k=2)
    plain, *_ = collect_stage_states(model, TOKENS, layer)
    before = attached(model)
    name = "blocks.0.hook_resid_post"
    with model.hooks(fwd_hooks=[(name, lambda resid, hook: resid * 2)]):
        inside = attached(model)
        doubled, _, at, _ = collect_stage_states(model, TOKENS, layer)
        assert attached(model) == inside
    assert torch.equal(doubled[at == 0], plain[at == 0] * 2)
    assert attached(model) == before
