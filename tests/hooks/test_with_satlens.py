"""The recipes that intervene do what `satlens.patching` does."""

import torch

import satlens
from hooks.inject_saturated_state import inject_saturated_state
from hooks.mark_saturation import mark_saturation
from hooks.record_residual_states import record_residual_states
from hooks.steer_to_next_stage import steer_to_next_stage
from satlens.patching import Edit, find_pairs, intervene, patch
from tests.builders import random_hooked
from tests.hooks.hosts import TOKENS

ROWS = torch.arange(len(TOKENS))


def edited(model, layer, pos, state, mode):
    places = torch.full_like(ROWS, layer), ROWS, torch.full_like(ROWS, pos)
    with torch.no_grad(), intervene(model, Edit(*places, state, mode)):
        return model(TOKENS)


def test_an_injected_state_is_an_edit_that_replaces(model):
    donors = TOKENS.flip(0)
    states, _ = record_residual_states(model, donors)
    for layer in range(len(model.blocks)):
        logits = inject_saturated_state(model, donors, 3, TOKENS, 5, layer)
        assert torch.equal(logits, edited(model, layer, 5, states[layer, :, 3], "replace"))


def test_a_steered_state_is_an_edit_that_adds(model):
    direction = torch.randn(
        model.cfg.d_model, generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    for layer in range(len(model.blocks)):
        logits = steer_to_next_stage(model, TOKENS, 5, layer, direction, 0.5)
        added = (0.5 * direction).expand(len(TOKENS), -1)
        assert torch.equal(logits, edited(model, layer, 5, added, "add"))


def test_patch_reads_what_the_recipes_read():
    """One pair at a time with the recipes, all at once with `satlens.patching.patch`."""
    model = random_hooked(n_layers=5)
    events = satlens.detect(model, TOKENS, k=3)
    pairs = find_pairs(events, gap=1)
    result = patch(model, TOKENS, pairs, k=3, offsets=[0], conditions=["paired"])

    def ranks(model, tokens):
        return mark_saturation(model, tokens, k=3)

    for run, pair in enumerate(result.pair):
        donor, recipient = pairs.donor[pair], pairs.recipient[pair]
        layer, token = inject_saturated_state(
            model, TOKENS[events.doc[donor]][None], int(events.pos[donor]),
            TOKENS[events.doc[recipient]][None], int(events.pos[recipient]), int(result.layer[run]),
            run=ranks,
        )  # fmt: skip
        at = events.pos[recipient]
        assert layer[0, at].tolist() == result.new.layer[run].tolist()
        assert token[0, at].tolist() == result.new.token[run].tolist()
    assert len(result) > 0
