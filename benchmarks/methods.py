"""What is compared: one row of the table each.

    run = method.build(model, k)         static parts, outside the clock
    given = method.given(model, ids)     what it starts from: the ids, or states already at hand
    layer, token = run(given)            timed

with the saturation layers and the final ranking ``[token k]``, or None where a row finds nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

Found = tuple[Int[Tensor, "token k"], Int[Tensor, "token k"]]
Run = Callable[[Any], Found | None]


class NotHere(Exception):
    """A package that a method needs is not installed; the message says which command installs it."""


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    title: str
    build: Callable[[nn.Module, int], Run]
    given: Callable[[nn.Module, Tensor], Any] = lambda model, ids: ids
    reference: str = "plain"
    """The row whose events it must have."""


def since(tops: Int[Tensor, "layer token k"]) -> Int[Tensor, "token k"]:
    """From the ranking of every layer, the layer from which each rank holds its last token."""
    unbroken = (tops == tops[-1]).flip(0).long().cumprod(0).sum(0)
    return len(tops) - unbroken


def events(tops: Iterable[Int[Tensor, "token k"]]) -> Found:
    """The events that rankings layer by layer make."""
    stacked = torch.stack(list(tops))
    return since(stacked), stacked[-1]


def differing(found: Found, reference: Found) -> int:
    """Slots (a token's rank) whose saturation layer or final token is another one."""
    layer, token = (a != b for a, b in zip(found, reference, strict=True))
    return int((layer | token).sum())


def every_method() -> dict[str, Method]:
    """All rows, in the order of the table."""
    from benchmarks import ours, tools, torch_loops

    return {**torch_loops.FORWARDS, **ours.METHODS, **torch_loops.METHODS, **tools.METHODS}
