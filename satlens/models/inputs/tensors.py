"""Tensors of one shape -> `Batches`, for modules of your own that give one answer an item.

    item i  ->  document i, with one position p that counts:  states h_l[i, p],  scores r(h_l[i, p])

A class token is such a position.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from satlens.errors import InputError
from satlens.models.inputs.batches import Batches, batch_without_tokens
from satlens.models.protocol import Batch


@dataclass(frozen=True, eq=False)
class Stacked:
    """Items of one shape, and what there is to say of them.

    Attributes:
        values: ``[item, ...]``.
        names: of the items, or None.
        doc: the place of each among all that were given, where some were left out; or None.
        note: what was done to them; logged once.
    """

    values: Float[Tensor, "item ..."]
    names: tuple[str, ...] | None = None
    doc: tuple[int, ...] | None = None
    note: str | None = None


@dataclass(frozen=True, eq=False)
class ItemRow:
    """One item; `Batches` counts and sorts it like a row of one position."""

    doc: int
    name: str
    value: Float[Tensor, "..."]
    real: Bool[Tensor, " pos"]

    def __len__(self) -> int:
        return 1


def tensor_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    n_positions: int,
    position: int = 0,
    shape: Sequence[int] | None = None,
    read: Callable[[Any], Any] = torch.as_tensor,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Batches:
    """Items in batches for the ``batches`` of a `satlens.models.ResidualModel`; one real position each.

    Bind everything but the first three with `functools.partial`. The forward of the model finds the
    stacked items at ``batch.args["inputs"]``.

    Args:
        n_positions: positions of the residual stream for one item.
        position: which of them the readout reads; 0 for a class token in front.
        shape: of one item, checked if given.
        read: what turns the caller's inputs into a float tensor ``[item, ...]`` or `Stacked`, for example
            `satlens.models.read_audio` with its ``samples``.
        include_bos: accepted for the sake of one signature: an item has no BOS.

    Raises:
        InputError: no items, another shape, no floats, NaN or infinite values.

    Example:
        >>> batches = tensor_batches(torch.zeros(3, 5), 2, n_positions=4)
        >>> [tuple(batch.args["inputs"].shape) for batch in batches], batches.n_tokens
        ([(2, 5), (1, 5)], 3)
    """
    if not 0 <= position < n_positions:
        raise InputError(f"position {position} is not among {n_positions} positions.")
    found = read(inputs)
    if not isinstance(found, Stacked):
        found = Stacked(found)
    values = found.values
    check_values(values, shape)
    names = found.names or tuple(f"item {i}" for i in range(len(values)))
    real = torch.zeros(n_positions, dtype=torch.bool)
    real[position] = True
    docs = found.doc or range(len(values))
    rows = tuple(
        ItemRow(doc, name, value, real)
        for doc, name, value in zip(docs, names, values, strict=True)
    )
    collate = partial(collate_items, dtype=dtype, device=device)
    return Batches(rows, batch_size, collate, len(rows), found.note)


def check_values(values: Any, shape: Sequence[int] | None) -> None:
    """Refuse what is no stack of finite floats."""
    if not isinstance(values, Tensor) or values.ndim < 2 or not values.is_floating_point():
        found = (
            f"{values.dtype} of shape {tuple(values.shape)}"
            if isinstance(values, Tensor)
            else type(values).__name__
        )
        raise InputError(f"The model reads a float tensor [item, ...]; got {found}.")
    if not len(values):
        raise InputError("Got no items.")
    if shape is not None and tuple(values.shape[1:]) != tuple(shape):
        raise InputError(
            f"The items have shape {tuple(values.shape[1:])}; the model reads {tuple(shape)}."
        )
    bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
    if bad:
        raise InputError(f"{bad} of {len(values)} items hold NaN or infinite values.")


def collate_items(rows: Sequence[ItemRow], dtype: torch.dtype, device: torch.device | str) -> Batch:
    """One batch of items."""
    values = torch.stack([row.value for row in rows]).to(dtype)
    return batch_without_tokens(rows, {"inputs": values}, device)
