"""Readouts built from a model's own modules.

    state h -> final norm -> x,    z = W x + b,    logits = cap(z)

``x`` are the *features*, ``W x + b`` the *head*, and whatever follows keeps the order of the scores (a soft
cap ``c tanh(z / c)``, a positive scale). Which steps a host has is said in its own module;
`satlens.wrap` checks that nothing is missing, and that the head is what it says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from satlens.models.protocol import Host

Readout = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Head:
    """The last linear map of a readout: ``z = W x + b``."""

    weight: Float[Tensor, "output d"]
    bias: Float[Tensor, " output"] | None = None
    owner: nn.Module | None = None
    """The module they were read from: what is made of them once is kept as long as it lives."""

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def transposed(self) -> bool:
        """Whether W lies in memory by columns."""
        return self.weight.stride(0) == 1 and self.weight.stride(1) != 1

    def rows(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """The rows of W for these outputs (TransformerLens keeps W transposed: picked as it lies)."""
        if self.transposed:
            return self.weight.T.index_select(1, ids).T
        return self.weight.index_select(0, ids)


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """norm -> linear -> steps that keep the order, of the model's own modules.

    Attributes:
        before: state -> features.
        output: the module that is the head (`torch.nn.Linear`, or TransformerLens' unembedding).
        after: steps elementwise and not decreasing.
        linear: False where the module was found not to be ``W x + b``, or the steps not to keep order.
    """

    before: tuple[Readout, ...]
    output: nn.Module
    after: tuple[Readout, ...] = ()
    linear: bool = field(default=True)

    def __call__(self, resid: Float[Tensor, "*leading d"]) -> Float[Tensor, "*leading output"]:
        """The model's own logits."""
        return _apply((*self.before, self.output, *self.after), resid)

    def features(self, resid: Float[Tensor, "*leading d"]) -> Float[Tensor, "*leading d_head"]:
        """What the head reads."""
        return _apply(self.before, resid)

    def head(self) -> Head | None:
        """W and b as they are now; None while a hook on the module (or its kind) hides them."""
        modules = cast(Iterator[Host], self.output.modules())
        if not self.linear or any(one._forward_hooks or one._forward_pre_hooks for one in modules):
            return None
        return head_of(self.output)


def chain(*steps: Readout) -> Readout:
    """The steps one after the other, on a state of any leading shape."""

    def readout(resid: Float[Tensor, "*leading d"]) -> Float[Tensor, "*leading output"]:
        return _apply(steps, resid)

    return readout


def _apply(steps: tuple[Readout, ...], resid: Tensor) -> Tensor:
    """Modules of host models (and hooks on them) expect ``[batch, pos, d]``: that is what they get."""
    out = resid.reshape(1, -1, resid.shape[-1])
    for step in steps:
        out = step(out)
    return out.reshape(*resid.shape[:-1], out.shape[-1])


def head_of(module: Host) -> Head | None:
    """W and b of a module that is a linear map and nothing else; None for any other."""
    if type(module) is nn.Linear:
        weight, bias = module.weight, module.bias
    elif type(module).__name__ in ("Unembed", "UnembeddingBridge"):
        weight, bias = module.W_U.T, module.b_U
    elif type(inside := module._modules.get("_original_component")) is nn.Linear:  # other bridges
        weight, bias = inside.weight, inside.bias
    else:
        return None
    if not weight.is_floating_point():
        return None
    if bias is not None:
        bias = bias.detach() if bool(bias.detach().any()) else None
    return Head(weight.detach(), bias, module)


@torch.no_grad()
def is_linear(readout: LinearReadout, resid: Float[Tensor, "token d"], tolerance: float) -> bool:
    """Whether on these states ``output`` is its W x + b, and ``after`` elementwise and not decreasing."""
    head = head_of(readout.output)
    x = readout.features(resid)
    if head is None or x.dtype != head.weight.dtype or x.shape[-1] != head.weight.shape[1]:
        return False
    z = _apply((readout.output,), x)
    runs = head.weight.split(8192)  # a whole unembedding in float64 could be larger than the model
    again = torch.cat([x.double() @ run.double().T for run in runs], dim=-1)
    if head.bias is not None:
        again = again + head.bias.double()
    spread = max(float(again.std()) if again.numel() > 1 else 0.0, 1e-6)
    if z.shape != again.shape or float((z.double() - again).abs().max()) > tolerance * spread:
        return False
    grid = torch.linspace(-100, 100, 64 * z.shape[-1]).to(z).reshape(64, -1)
    seen = _apply(readout.after, grid).flatten()
    return bool((seen.diff() >= 0).all()) and bool(seen[-1] > seen[0])


def soft_cap(cap: float | None) -> Readout:
    """``c tanh(x / c)``, or nothing where the model has no cap (None or not positive)."""
    if not cap or cap <= 0:
        return lambda logits: logits
    return lambda logits: cap * torch.tanh(logits / cap)


def scaled(factor: float) -> Readout:
    """Multiply by a constant."""
    return lambda values: values if factor == 1 else values * factor


def logits_of(output: Any) -> Tensor:
    """The logits in whatever a forward pass returned."""
    if isinstance(output, Tensor):
        return output
    return output.logits if hasattr(output, "logits") else output[0]
