"""Exits draft, the full model verifies: greedy output that is exactly the full model's (LayerSkip).

    d_1 .. d_n      the next tokens, each from a state that left where the policy said
    g_0 .. g_n      what the full model says after the last token, after d_1, ..., after d_n, in one pass
    a               how many of d_1 .. d_n equal g_0 .. g_{n-1}, from the first one on
    the text goes on with d_1 .. d_a, g_a

No draft left before the end of block s, the shallowest exit among them, so their states after it are the full
model's: the pass goes on from there, and only d_n runs from block 0. It writes keys and values anew above s;
those of rejected tokens stand behind the end of the text, where the next tokens overwrite them.

Source: Elhoushi et al. 2024, section 4.3, with any policy in place of one fixed layer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from satlens.exits.generation.answers import Answers
from satlens.exits.generation.decoding import Stepper


@dataclass(frozen=True, eq=False)
class Verified:
    """One round.

    Attributes:
        token: the full model's tokens; the first ``accepted + 1`` of a row are its text.
        layer: the layer that each was drafted at; the last one where the full model said it itself.
    """

    token: Int[Tensor, "row n_plus_1"]
    layer: Int[Tensor, "row n_plus_1"]
    accepted: Int[Tensor, " row"]
    drafts: int


def draft_and_verify(
    stepper: Stepper, answers: Answers, token: Int[Tensor, " row"], drafts: int
) -> Verified:
    """One round behind the last token of every row."""
    n_layers, start = stepper.decoder.n_layers, stepper.pos
    inputs, states, layers = [token], [], []
    for _ in range(drafts):
        left = stepper.step(inputs[-1], keep=True)
        states.append(stepper.states)
        layers.append(left.layer)
        inputs.append(answers.greedy(left))
    shallow = min((int(layer.min()) for layer in layers), default=-1)
    truth = _full(stepper, answers, inputs, [own[shallow] for own in states], start, shallow)

    drafted = torch.stack(inputs, 1)[:, 1:]
    accepted = (drafted == truth[:, :-1]).long().cumprod(1).sum(1)
    layer = torch.stack([*layers, torch.full((len(token),), n_layers - 1)], 1)
    place = torch.arange(drafts + 1)
    layer = torch.where(place < accepted.cpu()[:, None], layer, n_layers - 1)
    stepper.pos = start + accepted + 1
    return Verified(truth, layer, accepted.cpu(), drafts)


def _full(
    stepper: Stepper,
    answers: Answers,
    inputs: list[Tensor],
    states: list[Tensor],
    start: Tensor,
    shallow: int,
) -> Int[Tensor, "row n_plus_1"]:
    """The full model's tokens after each input; ``states`` are those of all but the last after block s."""
    n_layers, rows, m = stepper.decoder.n_layers, len(start), len(inputs)
    stepper.cache.forgive()  # what drafts owe is computed here
    pos = start[:, None] + torch.arange(m, device=start.device)
    last = stepper.decoder.embed(inputs[-1][:, None], pos[:, -1:])
    last = stepper.run(last, pos[:, -1:], last=shallow + 1)
    h = torch.cat([*(state[:, None] for state in states), last], 1)
    h = stepper.run(h, pos, first=shallow + 1)
    stepper.blocks += rows * (shallow + 1) + rows * m * (n_layers - 1 - shallow)
    return answers.greedy(stepper.full(h.flatten(0, 1))).view(rows, m)
