"""The parts that blocks of decoders are made of, as plain functions of a host's own tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

FUSED: dict[str, Activation] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "silu": F.silu,
    "swish": F.silu,
    "relu": F.relu,
}
"""Activations that torch computes in one step; others are the host's own functions."""


def activation(name: Any, module: Activation) -> Activation:
    """torch's own where it has it, else the host's."""
    return FUSED.get(name, module) if isinstance(name, str) else module


@dataclass(frozen=True, eq=False)
class Norm:
    """LayerNorm ("layer"), RMS norm ("rms") or nothing ("none"), over the last axis.

    Attributes:
        wide: the type that an RMS norm is computed in.
    """

    kind: str
    eps: float = 0.0
    weight: Tensor | None = None
    bias: Tensor | None = None
    wide: torch.dtype = torch.float32

    def __call__(self, x: Float[Tensor, "*some d"]) -> Float[Tensor, "*some d"]:  # noqa: D102
        if self.kind == "none":
            return x
        if self.kind == "layer":
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        if x.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        y = x.to(self.wide)
        y = (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        return y if self.weight is None else self.weight * y


@dataclass(frozen=True, eq=False)
class Linear:
    """``W x + b``; ``product`` where it is not torch's own (`satlens.models.fast_linears`)."""

    weight: Float[Tensor, "out d"]
    bias: Float[Tensor, " out"] | None = None
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor] = F.linear

    def __call__(self, x: Float[Tensor, "some d"]) -> Float[Tensor, "some out"]:  # noqa: D102
        return self.product(x, self.weight, self.bias)


Project = Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]]
"""``(x [some, d], first) -> q [first, head, e], k [some, kv, e], v [some, kv, e]``."""


@dataclass(frozen=True, eq=False)
class Separate:
    """Three linear maps (Llama; GPT-2 as a bridge)."""

    q: Linear
    k: Linear
    v: Linear
    d_head: int

    def __call__(self, x: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        q, k, v = (
            part.view(len(part), -1, self.d_head)
            for part in (self.q(x[:queries]), self.k(x), self.v(x))
        )
        return q, k, v


@dataclass(frozen=True, eq=False)
class Joint:
    """One linear map; its outputs are q, k, v one after the other (GPT-2), or head by head (GPT-NeoX)."""

    qkv: Linear
    d_head: int
    by_head: bool = False

    def __call__(self, x: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        out = self.qkv(x)
        if self.by_head:
            q, k, v = out.view(len(x), -1, 3, self.d_head).unbind(2)
        else:
            q, k, v = out.view(len(x), 3, -1, self.d_head).unbind(1)
        return q[:queries], k, v


@dataclass(frozen=True, eq=False)
class ByHead:
    """A matrix a head, ``W [head, d, d_head]``, as HookedTransformer keeps them."""

    weights: tuple[Tensor, Tensor, Tensor]
    biases: tuple[Tensor, Tensor, Tensor]

    def __call__(self, x: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        inputs = (x[:queries], x, x)
        q, k, v = (
            torch.baddbmm(b[:, None], part.expand(len(w), -1, -1), w).transpose(0, 1)
            for part, w, b in zip(inputs, self.weights, self.biases, strict=True)
        )
        return q, k, v


@dataclass(frozen=True, eq=False)
class Mlp:
    """``W_out f(W_in x)``, or ``W_out (f(W_gate x) W_in x + b)``."""

    up: Linear
    down: Linear
    act: Activation
    gate: Linear | None = None
    bias: Tensor | None = None

    def __call__(self, x: Float[Tensor, "some d"]) -> Float[Tensor, "some d"]:  # noqa: D102
        if self.gate is None:
            return self.down(self.act(self.up(x)))
        inside = self.act(self.gate(x)) * self.up(x)
        return self.down(inside if self.bias is None else inside + self.bias)


@dataclass(frozen=True, eq=False)
class Rotary:
    """Angles by position: the first ``r`` dimensions of queries and keys are turned by them."""

    cos: Float[Tensor, "pos r"]
    sin: Float[Tensor, "pos r"]
    adjacent: bool = False
    """Pairs are neighbours (GPT-J); else dimension i goes with i + r / 2."""

    def at(self, pos: Int[Tensor, " some"]) -> tuple[Tensor, Tensor]:
        """The angles of some positions; behind the last one (of drafts that are thrown away) its own."""
        pos = pos.clamp(max=len(self.cos) - 1)
        return self.cos[pos][:, None], self.sin[pos][:, None]

    def turn(
        self, x: Float[Tensor, "some head e"], angles: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "some head e"]:
        """Queries or keys, turned."""
        cos, sin = angles
        r = cos.shape[-1]
        part = x if r == x.shape[-1] else x[..., :r]
        if self.adjacent:
            other = torch.stack((-part[..., 1::2], part[..., ::2]), -1).flatten(-2)
        else:
            other = torch.cat((-part[..., r // 2 :], part[..., : r // 2]), -1)
        turned = part * cos + other * sin
        return turned if r == x.shape[-1] else torch.cat((turned, x[..., r:]), -1)
