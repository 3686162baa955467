"""A state put in is the donor's block output, at one place and nowhere else."""

import pytest
import torch

from hooks.inject_saturated_state import inject_saturated_state
from hooks.mark_saturation import mark_saturation
from hooks.record_residual_states import record_residual_states
from tests.builders import random_ids
from tests.hooks.hosts import TOKENS, attached
from tests.hooks.plain import plain_run

DONORS = torch.tensor(random_ids(50, [7, 7], seed=1))


def places(model):
    """(layer, donor position, position): the first block, the last one, and between."""
    n_layers = len(model.blocks)
    return [(0, 3, 5), (n_layers // 2, -1, 0), (n_layers - 1, 2, 11)]


def test_it_is_what_plain_hooks_do(model):
    """One row at a time in the reference, both at once in the recipe."""
    donors, _ = plain_run(model, DONORS)
    for layer, donor_pos, pos in places(model):
        states, logits = inject_saturated_state(
            model, DONORS, donor_pos, TOKENS, pos, layer, run=record_residual_states
        )
        assert torch.equal(
            inject_saturated_state(model, DONORS, donor_pos, TOKENS, pos, layer), logits
        )
        for row in range(len(TOKENS)):
            put_in = donors[layer, row, donor_pos]
            want, answer = plain_run(model, TOKENS, (layer, row, pos, lambda _, x=put_in: x))
            assert torch.equal(states[:, row], want[:, row])
            assert torch.equal(logits[row], answer[row])


def test_it_changes_one_place_and_what_reads_it(model):
    clean, logits = plain_run(model, TOKENS)
    donors, _ = plain_run(model, DONORS)
    for layer, donor_pos, pos in places(model):
        patched, answer = inject_saturated_state(
            model, DONORS, donor_pos, TOKENS, pos, layer, run=record_residual_states
        )
        assert torch.equal(patched[layer, :, pos], donors[layer, :, donor_pos])
        assert not torch.equal(patched[layer, :, pos], clean[layer, :, pos])
        assert torch.equal(patched[:layer], clean[:layer]), "layers before"
        assert torch.equal(patched[:, :, :pos], clean[:, :, :pos]), "positions before"
        other = torch.arange(TOKENS.shape[1]) != pos  # no block was skipped for the others
        assert torch.equal(patched[layer][:, other], clean[layer][:, other])
        assert torch.equal(answer[:, :pos], logits[:, :pos])
        assert not torch.equal(answer[:, pos], logits[:, pos])


def test_a_state_of_its_own_changes_nothing(model):
    with torch.no_grad():
        logits = model(TOKENS)
    for layer in range(len(model.blocks)):
        for pos in (0, 4, -1):
            assert torch.equal(
                inject_saturated_state(model, TOKENS, pos, TOKENS, pos, layer), logits
            )


def test_each_row_may_have_its_own_place(model):
    last = len(model.blocks) - 1
    layer, donor_pos, pos = torch.tensor([last, 0]), torch.tensor([1, 6]), torch.tensor([9, 2])
    both = inject_saturated_state(model, DONORS, donor_pos, TOKENS, pos, layer)
    for row in range(2):
        alone = inject_saturated_state(
            model, DONORS, int(donor_pos[row]), TOKENS, int(pos[row]), int(layer[row])
        )
        assert torch.equal(both[row], alone[row])


def test_one_donor_row_serves_all(model):
    donor = DONORS[:1]
    states, _ = plain_run(model, donor)
    positions = torch.tensor([1, 6])
    patched, _ = inject_saturated_state(
        model, donor, positions, TOKENS, 3, 0, run=record_residual_states
    )
    assert torch.equal(patched[0, :, 3], states[0, 0, positions])


def test_other_recipes_read_the_patched_model(model):
    """A state of the last layer brings its whole ranking along."""
    last = len(model.blocks) - 1
    _, own = mark_saturation(model, DONORS)
    layer, token = inject_saturated_state(model, DONORS, 4, TOKENS, 8, last, run=mark_saturation)
    assert torch.equal(token[:, 8], own[:, 4])
    assert (layer[:, 8] <= last).all()


def test_padding_of_donor_and_recipient_is_told_apart(model):
    """Without donor_kwargs the recipient's mask goes to the donor, and does not fit it."""
    mask, donor_mask = torch.ones_like(TOKENS), torch.ones_like(DONORS)
    donor_mask[:, 5:] = 0
    donors, _ = record_residual_states(model, DONORS, attention_mask=donor_mask)
    patched, _ = inject_saturated_state(
        model, DONORS, 4, TOKENS, 8, 0, run=record_residual_states,
        donor_kwargs={"attention_mask": donor_mask}, attention_mask=mask,
    )  # fmt: skip
    assert torch.equal(patched[0, :, 8], donors[0, :, 4])


@pytest.mark.parametrize("layer", [-1, 99, torch.tensor([0, 99])])
def test_a_layer_the_model_lacks(model, layer):
    before = attached(model)
    last = len(model.blocks) - 1
    with pytest.raises(ValueError, match=rf"layer \[.*\]: the model has 0 \.\. {last}"):
        inject_saturated_state(model, DONORS, 0, TOKENS, 0, layer)
    assert attached(model) == before


def test_no_hook_is_left_behind_after_an_error(model):
    before = attached(model)
    with torch.no_grad():
        logits = model(TOKENS)

    def fails(*_):
        raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError, match="on purpose"):
        inject_saturated_state(model, DONORS, 0, TOKENS, 0, 0, run=fails)
    for donor, donor_pos, tokens, pos in [
        (DONORS, 7, TOKENS, 0),  # no such position
        (DONORS, 0, TOKENS, 12),
        (DONORS + 50, 0, TOKENS, 0),  # no such token
        (DONORS, 0, TOKENS + 50, 0),
        (DONORS[:1].expand(3, -1), 0, TOKENS, 0),  # three donors for two
    ]:
        with pytest.raises((IndexError, RuntimeError)):
            inject_saturated_state(model, donor, donor_pos, tokens, pos, 0)
    assert attached(model) == before
    with torch.no_grad():
        assert torch.equal(model(TOKENS), logits)


def test_hooks_of_the_caller_act_first_and_stay(model):
    """They double the donor's state on its way out; what is put in is not doubled again."""
    donors, _ = plain_run(model, DONORS)
    clean, _ = plain_run(model, TOKENS)
    before, seen = attached(model), []
    keep = ("blocks.0.hook_resid_post", lambda resid, hook: seen.append(resid))
    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda resid, hook: resid * 2), keep]):
        inside = attached(model)
        patched, _ = inject_saturated_state(
            model, DONORS, 3, TOKENS, 5, 0, run=record_residual_states
        )
        assert attached(model) == inside
    assert torch.equal(patched[0, :, 5], donors[0, :, 3] * 2)
    assert torch.equal(patched[0, :, 6], clean[0, :, 6] * 2)
    assert torch.equal(seen[-1], clean[0] * 2), "what the caller keeps is not written into"
    assert attached(model) == before
