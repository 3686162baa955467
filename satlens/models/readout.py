"""Readouts built from a model's own modules.

    state h -> final norm -> unembedding -> scale -> soft cap, cap(x) = c tanh(x / c)

Which steps a host has is said in its own module; `satlens.wrap` checks that nothing is missing.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Readout = Callable[[Tensor], Tensor]


def chain(*steps: Readout) -> Readout:
    """The steps one after the other, on a state of any leading shape.

    Modules of host models (and hooks on them) expect ``[batch, pos, d]``, so that is what they get.
    """

    def readout(resid: Float[Tensor, "*leading d"]) -> Float[Tensor, "*leading output"]:
        out = resid.reshape(1, -1, resid.shape[-1])
        for step in steps:
            out = step(out)
        return out.reshape(*resid.shape[:-1], out.shape[-1])

    return readout


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
