"""Where a block adds to the residual stream: the modules whose output is what attention and the MLP add.

    h_l = h_{l-1} + c (a_l + m_l)        a_l, m_l: what attention and the MLP of block l add, c a constant

Gates scale a_l and m_l token by token, so a norm behind a sub-module (Gemma 2, OLMo 2) must come before the
scale: an RMS norm takes every scale out again. Several places are tried, and one is taken only after a
forward pass with random scales in which the sum above holds.

    host                                      attention                    MLP
    HookedTransformer, bridges                hook_attn_out                hook_mlp_out
    with norms behind, by their own modules   ln1_post                     ln2_post
    Hugging Face, norms behind                post_attention_layernorm     post_feedforward_layernorm
    Hugging Face, others                      attn, self_attn, attention   mlp
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from satlens.errors import ModelError
from satlens.models.hosts.hugging_face import LAYOUTS, has_submodule
from satlens.models.protocol import ResidualModel

PLACES = (
    ("hook_attn_out", "hook_mlp_out"),
    ("hook_attn_out",),
    ("ln1_post", "ln2_post"),
    ("post_attention_layernorm", "post_feedforward_layernorm"),
    ("attn", "mlp"),
    ("self_attn", "mlp"),
    ("attention", "mlp"),
)
"""What the modules are called in a block, tried in this order."""

HELD = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest share of the root mean square of h_l - h_{l-1} that may be left over, by type. Measured on every
kind of host in tests/routing: below 1e-5 in float32. A scale in front of a norm leaves 0.1 and more."""


def blocks_of(model: ResidualModel) -> Sequence[nn.Module]:
    """The stack of blocks whose states are hooked.

    Raises:
        ModelError: no such stack.
    """
    looked = ("blocks", *dict.fromkeys(layout.layers for layout in LAYOUTS))
    for path in looked:
        if has_submodule(model.host, path):
            stack = model.host.get_submodule(path)
            if isinstance(stack, nn.ModuleList) and len(stack) == model.n_layers:
                return list(stack)
    raise ModelError(
        f"{model.name} ({type(model.host).__name__}) cannot be gated: it has no stack of {model.n_layers} "
        f"blocks (looked for {', '.join(looked)})."
    )


def find_writers(model: ResidualModel) -> list[tuple[nn.Module, ...]]:
    """The modules of every block whose output is added to the stream, checked on a short input.

    Raises:
        ModelError: a host in which no known place holds what is added; the message says what was tried.
    """
    blocks = blocks_of(model)
    tried = []
    for names in PLACES:
        found = [
            tuple(part for name in names if (part := _part(block, name)) is not None)
            for block in blocks
        ]
        if any(len(parts) < len(names) for parts in found):
            continue
        why = _left_over(model, found)
        if why is None:
            return found
        tried.append(f"{' and '.join(names)}: {why}")
    have = ", ".join(name for name, _ in blocks[0].named_children())
    raise ModelError(
        f"{model.name} ({type(model.host).__name__}) cannot be gated: a gate scales what attention and the "
        f"MLP add to the stream, and no known place holds that. "
        f"{'; '.join(tried) or f'Its blocks have {have}'}. Known places: "
        f"{'; '.join(', '.join(names) for names in PLACES)}."
    )


def _part(block: nn.Module, name: str) -> nn.Module | None:
    """A module of a block, also under a bridge's other name for it; None if there is none."""
    part = getattr(block, name, None)
    return part if isinstance(part, nn.Module) else None


def scaled(module: nn.Module, scale: Callable[[Tensor], Tensor]) -> Any:
    """A forward hook that puts ``scale(output)`` in place of a module's output; gives its handle."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (scale(output[0]), *output[1:])
        return scale(output)

    return module.register_forward_hook(hook)


@dataclass
class _Sums:
    """What one forward pass with random scales leaves behind, by block."""

    states: dict[int, Tensor] = field(default_factory=dict)
    added: dict[int, Tensor] = field(default_factory=dict)

    def keep(self, layer: int) -> Callable[..., None]:
        """A hook that keeps the state behind a block."""

        def record(resid: Tensor, hook: Any) -> None:
            self.states[layer] = resid.detach().double()

        return record

    def scale(self, layer: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
        """Scales an output position by position, and keeps it."""

        def apply(output: Tensor) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim != 3:
                raise _OtherShape(tuple(getattr(output, "shape", ())))
            share = torch.rand(output.shape[:2], generator=generator) * 0.8 + 0.1
            new = output * share.to(output)[..., None]
            self.added[layer] = self.added.get(layer, 0) + new.detach().double()
            return new

        return apply


class _OtherShape(Exception):
    """An output that is no state a position."""


@torch.no_grad()
def _left_over(model: ResidualModel, writers: list[tuple[nn.Module, ...]]) -> str | None:
    """None if what these modules write is all that blocks 1 to L-1 add; else what is wrong."""
    if model.example is None:
        return f"{model.name} has no example input to check it on (ResidualModel(example=...))"
    (batch,) = model.batches(model.example, 1, include_bos=True)
    sums, generator = _Sums(), torch.Generator().manual_seed(0)
    layers = range(model.n_layers)
    with ExitStack() as stack:
        stack.enter_context(model.hooks([(layer, sums.keep(layer)) for layer in layers]))
        for layer in layers[1:]:
            for module in writers[layer]:
                stack.callback(scaled(module, sums.scale(layer, generator)).remove)
        try:
            model.forward(batch)
        except _OtherShape as found:
            return f"an output of shape {found.args[0]}, not [batch, pos, d]"
    for layer in layers[1:]:
        if layer not in sums.added or layer not in sums.states:
            return f"it is not run in block {layer}"
        before, after, added = sums.states[layer - 1], sums.states[layer], sums.added[layer]
        if not before.shape == after.shape == added.shape:
            return f"shapes {tuple(before.shape)} and {tuple(added.shape)} in block {layer}"
        why = _differs(before, after, added, next(model.host.parameters()).dtype)
        if why is not None:
            return f"{why} in block {layer}"
    return None


def _differs(
    before: Float[Tensor, "batch pos d"],
    after: Float[Tensor, "batch pos d"],
    added: Float[Tensor, "batch pos d"],
    kind: torch.dtype,
) -> str | None:
    """Whether ``after - before`` is a constant times ``added``, up to the rounding of the type."""
    change = after - before
    constant = float((change * added).sum() / (added * added).sum().clamp(min=1e-300))
    left = float((change - constant * added).square().mean().sqrt())
    size = float(change.square().mean().sqrt())
    rounding = 4 * torch.finfo(kind).eps * float(after.square().mean().sqrt())
    if left <= HELD.get(kind, HELD[torch.float32]) * size + rounding:
        return None
    return f"{left / max(size, 1e-300):.1%} of what is added comes from elsewhere"
