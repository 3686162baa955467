"""Generation written down literally: no cache, every step a whole forward pass of the host itself.

CALM's rule for skipped blocks, by hooks: after block l the state of a position that left before l is put back
to what it was before the block. So every later block makes its keys and values from the state it left with.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from satlens.exits.policy import Peek, Policy, leaving
from satlens.lenses.base import LinearLens
from satlens.lenses.logit import LogitLens
from satlens.models.protocol import ResidualModel
from satlens.models.wrap import wrap
from satlens.saturation.exact import exact_scores
from tests.builders import HAS_HOOKED, random_hf, random_hooked, to_bridge


@torch.no_grad()
def literally(
    model: ResidualModel,
    prompt: list[int],
    policy: Policy | None,
    new: int,
    ends: tuple = (),
    lens: LinearLens | None = None,
) -> tuple[list[int], list[int]]:
    """Tokens and exit layers of one prompt, greedily."""
    lens, last = LogitLens(model) if lens is None else lens, model.n_layers - 1
    ids, left = list(prompt), [last] * len(prompt)
    states = states_of(model, ids, left)
    tokens, layers = [best(lens, states[last], last)], [last]
    while len(tokens) < new and tokens[-1] not in ends:
        ids.append(tokens[-1])
        left.append(last)
        states = states_of(model, ids, left)
        left[-1] = last if policy is None else exit_of(policy, states, len(ids) - 1, lens)
        tokens.append(best(lens, states[left[-1]], left[-1]))
        layers.append(left[-1])
    return tokens, layers


@torch.no_grad()
def states_of(model: ResidualModel, ids: list[int], left: list[int]) -> list[Tensor]:
    """``[pos, d]`` after each block; position p stays as it was after block ``left[p]``."""
    (batch,) = model.batches([ids], 1, include_bos=True)
    kept: list[Tensor] = []
    layer_of = torch.tensor(left)

    def put_back(layer: int) -> Callable:
        def hook(resid, hook=None):
            if layer:
                resid = torch.where((layer_of < layer)[None, :, None], kept[-1], resid)
            kept.append(resid)
            return resid

        return hook

    with model.hooks([(layer, put_back(layer)) for layer in range(model.n_layers)]):
        model.forward(batch)
    return [state[0] for state in kept]


def exit_of(policy: Policy, states: list[Tensor], pos: int, lens: LinearLens) -> int:
    """Where the last position leaves."""
    memory: dict[str, Tensor] = {}
    for layer in range(len(states) - 1):
        before = None if layer == 0 else states[layer - 1][-1:].clone()
        now, where = states[layer][-1:].clone(), torch.tensor([pos])
        peek = Peek(layer, len(states), now, before, where, lens.scores, memory)
        if bool(leaving(policy, peek)[0]):
            return layer
    return len(states) - 1


def best(lens: LinearLens, states: Tensor, layer: int) -> int:
    """The output of highest exact score at the last position, of equal ones the lowest id."""
    head = lens.head()
    x = lens.features(states[-1:], layer)
    scores = exact_scores(head, x.expand(len(head), -1), torch.arange(len(head)))
    return int(scores.numpy().argmax())  # the first of several


class Random:
    """Leaves or not by the state, the layer, the position and, if asked, what it noted before."""

    def __init__(self, seed: int, d: int, strict: float, remembers: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.w = torch.randn(16, d, generator=generator, dtype=torch.float64) * 2 / d**0.5
        self.strict, self.remembers, self.name = strict, remembers, "random"

    def __call__(self, peek: Peek) -> Tensor:
        h = peek.resid.double()
        moved = h if peek.before is None else h - peek.before.double()
        signal = torch.sin(h @ self.w[peek.layer] + 2 * (moved @ self.w[-1]) + 1.7 * peek.pos)
        if self.remembers:
            signal = peek.memory.get("sum", torch.zeros(len(h))) + signal
            peek.memory["sum"] = signal
        peek.resid.fill_(torch.nan)  # its own copy
        peek.pos.fill_(-1)
        return signal > self.strict


HOSTS: dict[str, Callable[[], nn.Module]] = {
    "hf gpt2": lambda: random_hf("gpt2", d=16, vocab=23, heads=2),
    "hf llama": lambda: random_hf("llama", d=16, vocab=23, heads=4, num_key_value_heads=2),
    "hf mistral": lambda: random_hf("mistral", d=16, vocab=23, heads=2, sliding_window=4),
    "hf neox": lambda: random_hf("gpt_neox", d=16, vocab=23, heads=2),
    "bridge gpt2": lambda: to_bridge(random_hf("gpt2", d=16, vocab=23, heads=2)),
    "bridge llama": lambda: to_bridge(random_hf("llama", d=16, vocab=23, heads=2)),
    "bridge neox": lambda: to_bridge(random_hf("gpt_neox", d=16, vocab=23, heads=2)),
}
if HAS_HOOKED:
    HOSTS |= {
        "hooked": lambda: random_hooked(3, 16, 23, heads=2),
        "hooked rotary": lambda: random_hooked(
            4, 16, 23, heads=4, n_key_value_heads=2, positional_embedding_type="rotary",
            rotary_dim=4, rotary_adjacent_pairs=False, normalization_type="RMS", gated_mlp=True,
        ),
        "hooked parallel": lambda: random_hooked(
            3, 16, 23, heads=2, positional_embedding_type="rotary", rotary_dim=4,
            parallel_attn_mlp=True, use_local_attn=True, window_size=4,
            attn_types=["global", "local", "global"],
        ),
    }  # fmt: skip


@lru_cache
def host(name: str, dtype: torch.dtype = torch.float64, ties: bool = False) -> ResidualModel:
    """A small random model, in float64 so that its tokens do not hang on the last bit of a sum.

    ``ties``: outputs come in equal pairs.
    """
    made = HOSTS[name]()
    if hasattr(made, "cfg") and "hooked" in name and dtype != torch.float32:
        made.to(dtype, print_details=False)
        made.cfg.dtype = dtype
        for block in made.blocks:
            for part in block.modules():
                if hasattr(part, "cfg"):
                    part.cfg.dtype = dtype
    else:
        made = made.to(dtype)
    if ties:
        head = wrap(made).readout.head()
        head.weight[1::2] = head.weight[:-1:2]
    return wrap(made)
