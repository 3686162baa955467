"""Rows of token ids -> padded `Batch`es.

A row is one window of one document. Rows are padded on the right: to a causal model pads on the
right change nothing at real positions, and every model is given the attention mask as well. A
document longer than the context ``C`` becomes several windows. With a BOS,

    window w = BOS, body[w (C-1) : (w+1) (C-1)],        column c >= 1 is document position w (C-1) + c,

so every position is read once. The BOS of a later window stands for no position and never counts.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satlens.errors import InputError
from satlens.models.protocol import Batch

logger = logging.getLogger("satlens")


@dataclass(frozen=True)
class Row:
    """One window of one document, as the model reads it."""

    doc: int
    start: int
    ids: Int[Tensor, " pos"]
    real: Bool[Tensor, " pos"]
    source: Int[Tensor, " source"] | None = None
    """What the encoder reads, for encoder-decoder models."""

    def __len__(self) -> int:
        return len(self.ids) + (0 if self.source is None else len(self.source))


@dataclass(frozen=True)
class Batches:
    """An iterable of `Batch`es, longest rows first, and what there is to know before the first.

    Attributes:
        n_documents: documents read.
        note: which documents could not be read as they are and what was done (longer than the context,
            damaged), or None. It is logged once.
    """

    rows: tuple[Any, ...]  # a `Row`, or anything with a length and `real`
    batch_size: int
    collate: Callable[[Sequence[Any]], Batch]
    n_documents: int
    note: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int):
            raise InputError(f"batch_size must be a whole number, got {self.batch_size!r}.")
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}.")
        if self.note:
            logger.warning(self.note)

    @property
    def n_tokens(self) -> int:
        """Positions that count, over all batches."""
        return sum(int(row.real.sum()) for row in self.rows)

    def first(self, tokens: int) -> "Batches":
        """The same without the rows after the one that reaches this many positions.

        Rows are taken in order of document, whole windows at a time, so a limit does not favour
        long documents, which are read first.
        """
        reached = np.cumsum([int(row.real.sum()) for row in self.rows])
        kept = self.rows[: int(np.searchsorted(reached, tokens)) + 1]
        return replace(self, rows=kept, n_documents=len({row.doc for row in kept}), note=None)

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # Rows of like length share a batch, so little is spent on padding; the longest come first,
        # so a batch that does not fit into memory shows at once.
        rows = sorted(self.rows, key=len, reverse=True)
        for first in range(0, len(rows), self.batch_size):
            yield self.collate(rows[first : first + self.batch_size])


def pad_rows(
    rows: Sequence[Tensor], device: torch.device | str
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Ids padded on the right with 0, and the attention mask (1 = read)."""
    ids = pad_sequence(list(rows), batch_first=True, padding_value=0)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids.to(device), mask.to(device)


def collate_tokens(rows: Sequence[Row], device: torch.device | str) -> Batch:
    """One batch for a model that reads a single sequence of tokens."""
    ids, mask = pad_rows([row.ids for row in rows], device)
    return Batch(
        args={"input_ids": ids, "attention_mask": mask},
        real=pad_sequence([row.real for row in rows], batch_first=True).to(device),
        doc=torch.tensor([row.doc for row in rows], device=device),
        start=torch.tensor([row.start for row in rows], device=device),
        tokens=ids,
    )


def batch_without_tokens(
    rows: Sequence[Any], args: dict[str, Tensor], device: torch.device | str
) -> Batch:
    """One batch for a model that reads no tokens; a row has ``doc`` and ``real``, and is a whole document."""
    real = pad_sequence([row.real for row in rows], batch_first=True).to(device)
    return Batch(
        args={name: value.to(device) for name, value in args.items()},
        real=real,
        doc=torch.tensor([row.doc for row in rows], device=device),
        start=torch.zeros(len(rows), dtype=torch.int64, device=device),
        tokens=torch.full(real.shape, -1, device=device),
    )


def windows(
    doc: int,
    ids: Int[Tensor, " pos"],
    *,
    context: int | None,
    bos: int | None,
    eos: int | None = None,
    include_bos: bool = False,
    counts: Bool[Tensor, " pos"] | None = None,
) -> list[Row]:
    """The rows of one document; its ``bos`` in front and its ``eos`` at the end frame every window.

    The frame counts only with ``include_bos``, and then only at the ends of the document; of the rest
    what ``counts`` says, by default all.
    """
    has_bos = bos is not None and len(ids) > 0 and int(ids[0]) == bos
    has_eos = eos is not None and len(ids) > int(has_bos) and int(ids[-1]) == eos
    inside = slice(int(has_bos), len(ids) - int(has_eos))
    body = ids[inside]
    counted = torch.ones(len(body), dtype=torch.bool) if counts is None else counts[inside]
    room = len(body) if context is None else context - has_bos - has_eos
    if len(body) and room < 1:
        raise InputError(f"A context of {context} leaves no room beside the special tokens.")
    rows = []
    for offset in range(0, max(len(body), 1), max(room, 1)):
        piece = body[offset : offset + room]
        last = offset + len(piece) >= len(body)
        real = counted[offset : offset + room]
        if has_bos:
            piece = torch.cat([ids[:1], piece])
            real = torch.cat([torch.tensor([include_bos and offset == 0]), real])
        if has_eos:
            piece = torch.cat([piece, ids[-1:]])
            real = torch.cat([real, torch.tensor([include_bos and last])])
        rows.append(Row(doc, offset, piece, real))
    return rows
