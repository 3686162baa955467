"""Where a token stands among the rows that a model reads, and rows cut behind it.

    (doc, pos)  ->  (row, column)         pos = start[row] + column, at columns that are real

A document longer than the context is several rows (windows), and a BOS in front is a column of its own, so
places are read off the `Batch`es themselves. To a causal model nothing behind a position matters: its row
may be cut there, which saves half of the work on average. Whether a model is causal is not taken on trust:
one row is read whole and cut, and the rows are cut only if that gives the same logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from satlens.errors import InputError
from satlens.models import Batches, wrap
from satlens.models.inputs.batches import Row
from satlens.models.protocol import Batch, ResidualModel
from satlens.models.wrap import TOLERANCE

READ_ROWS = 8
"""Documents in one forward pass where whole documents are read."""


@dataclass(frozen=True, eq=False)
class TokenIndex:
    """Finds tokens by document and position."""

    key: ndarray
    order: Int[ndarray, " token"]

    @staticmethod
    def of(doc: Int[ndarray, " token"], pos: Int[ndarray, " token"]) -> "TokenIndex":
        """The index of tokens in the order given."""
        key = _key(doc, pos)
        order = np.argsort(key, kind="stable")
        return TokenIndex(key[order], order)

    def find(self, doc: Int[ndarray, " n"], pos: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        """The number of each token, -1 where there is none."""
        key = _key(doc, pos)
        at = np.minimum(np.searchsorted(self.key, key), max(len(self.key) - 1, 0))
        if not len(self.key):
            return np.full(len(key), -1)
        return np.where(self.key[at] == key, self.order[at], -1)


def _key(doc: ndarray, pos: ndarray) -> ndarray:
    """One number a token: positions are far below 2^32."""
    return (np.asarray(doc, np.int64) << 32) + np.asarray(pos, np.int64)


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of some inputs, and the place of every token in them."""

    model: ResidualModel
    batches: Batches
    index: TokenIndex
    row: Int[ndarray, " token"]
    column: Int[ndarray, " token"]
    causal: bool = False
    """Whether rows are cut: the model says that it is causal, and one cut row agrees."""

    @staticmethod
    def of(model: ResidualModel, inputs: Any) -> "Rows":
        """Read the inputs, or take `Batches` that were made before.

        Raises:
            InputError: unusable inputs.
        """
        batches = read(model, inputs)
        docs, positions, rows, columns = [], [], [], []
        for first in range(0, len(batches.rows), READ_ROWS):
            batch = batches.collate(batches.rows[first : first + READ_ROWS])
            row, column = (x.cpu().numpy() for x in batch.real.nonzero(as_tuple=True))
            docs.append(batch.doc.cpu().numpy()[row])
            positions.append(batch.start.cpu().numpy()[row] + column)
            rows.append(first + row)
            columns.append(column)
        doc, pos = np.concatenate(docs), np.concatenate(positions)
        index = TokenIndex.of(doc, pos)
        return Rows(
            model, batches, index, np.concatenate(rows), np.concatenate(columns),
            causal=model.causal and _cut_agrees(model, batches),
        )  # fmt: skip

    def find(
        self, doc: Int[ndarray, " n"], pos: Int[ndarray, " n"]
    ) -> tuple[Int[ndarray, " n"], Int[ndarray, " n"]]:
        """Row and column of each token.

        Raises:
            InputError: a token that is not among the positions that count.
        """
        at = self.index.find(doc, pos)
        if (at < 0).any():
            missing = int((at < 0).sum())
            first = int(np.flatnonzero(at < 0)[0])
            raise InputError(
                f"{missing} of {len(at)} tokens are not in the inputs, the first at position "
                f"{int(pos[first])} of document {int(doc[first])}. The events must be of these inputs, "
                "and of positions that count (no BOS, no padding)."
            )
        return self.row[at], self.column[at]

    def lengths(self, row: Int[ndarray, " n"], column: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        """How many tokens the model reads for each (row, column)."""
        rows = self.batches.rows
        whole = np.array([max(len(one), len(one.real)) for one in rows])
        cuttable = np.array([self.causal and _can_be_cut(one) for one in rows])
        return np.where(cuttable[row], column + 1, whole[row])

    def batch(self, row: Int[ndarray, " n"], column: Int[ndarray, " n"]) -> Batch:
        """One batch of these rows, in order, each cut behind its column where that changes nothing."""
        pairs = zip(row, column, strict=True)
        return self.batches.collate([self._cut(self.batches.rows[r], int(c)) for r, c in pairs])

    def _cut(self, row: Any, column: int) -> Any:
        return _cut(row, column) if self.causal and _can_be_cut(row) else row


def _can_be_cut(row: Any) -> bool:
    """Rows of tokens; a decoder's row is left whole, with what the encoder reads."""
    return isinstance(row, Row) and row.source is None


def _cut(row: Row, column: int) -> Row:
    return replace(row, ids=row.ids[: column + 1], real=row.real[: column + 1])


@torch.no_grad()
def _cut_agrees(model: ResidualModel, batches: Batches) -> bool:
    """Whether the longest row, cut in the middle, gives the logits of the whole row there."""
    rows = [row for row in batches.rows if _can_be_cut(row)]
    if not rows:
        return False
    row = max(rows, key=len)
    column = (len(row) - 1) // 2
    whole, cut = (
        model.forward(batches.collate([one]))[0, column].double()
        for one in (row, _cut(row, column))
    )
    allowed = TOLERANCE.get(next(model.host.parameters()).dtype, TOLERANCE[torch.float32])
    return bool((whole - cut).abs().max() <= allowed * whole.std(unbiased=False))


def read(model: Any, inputs: Any) -> Batches:
    """The inputs as `Batches`, which know their rows."""
    model = wrap(model)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, READ_ROWS)
    if not isinstance(batches, Batches):
        raise InputError(
            f"Patching wants rows that it can put together anew; the batches of {model.name} are a "
            f"{type(batches).__name__}. Let its `batches` give satlens.models.Batches."
        )
    return batches


def packs(lengths: Int[ndarray, " n"], max_tokens: int) -> Iterator[Int[ndarray, " pack"]]:
    """Numbers 0 .. n-1 in packs of at most ``max_tokens`` padded tokens, the longest first.

    >>> [pack.tolist() for pack in packs(np.array([3, 9, 4, 8]), max_tokens=16)]
    [[1], [3, 2], [0]]
    """
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        size = max(1, max_tokens // max(int(lengths[order[first]]), 1))
        yield order[first : first + size]
        first += size


def check_tokens(batch_tokens: int) -> None:
    """Refuse a size of batches that means nothing."""
    if isinstance(batch_tokens, bool) or not isinstance(batch_tokens, int) or batch_tokens < 1:
        raise InputError(
            f"batch_tokens must be a whole number of at least 1, got {batch_tokens!r}."
        )
