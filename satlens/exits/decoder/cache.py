"""Keys and values of every block, and the states that still owe some.

A position that leaves after block l has no keys and values in the blocks above. Its state waits in front of
block l + 1. When a later position of the same row comes to that block, the waiting states of the row are
*due*: the block makes their keys and values along with its own, and they move on to the next block. So none
is made that is never read, and those of a position are made from the state it left with, at every block.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Waiting:
    """States that left, and where they stand."""

    rows: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    resid: Float[Tensor, "n d"]

    def take(self, index: Tensor) -> "Waiting":
        """Some of them."""
        return Waiting(self.rows[index], self.pos[index], self.resid[index])

    @staticmethod
    def joined(parts: list["Waiting"]) -> "Waiting":
        """Several as one."""
        if len(parts) == 1:
            return parts[0]
        return Waiting(
            torch.cat([part.rows for part in parts]),
            torch.cat([part.pos for part in parts]),
            torch.cat([part.resid for part in parts]),
        )


class Cache:
    """Keys and values ``[row, pos, head, d_head]`` a block.

    Args:
        n_layers: number of blocks.
        shape: rows, positions, key heads, width of a head.
        like: a tensor of the type and on the device they get.
    """

    def __init__(self, n_layers: int, shape: tuple[int, int, int, int], like: Tensor) -> None:
        # Zeros: what a mask leaves out is multiplied by 0, and 0 times garbage may be NaN.
        self.keys = [like.new_zeros(shape) for _ in range(n_layers)]
        self.values = [like.new_zeros(shape) for _ in range(n_layers)]
        self.waiting: list[list[Waiting]] = [[] for _ in range(n_layers + 1)]
        self._every = torch.arange(shape[0], device=like.device)

    def write(
        self,
        layer: int,
        where: tuple[Int[Tensor, " n"], Int[Tensor, " n"]],
        k: Float[Tensor, "n head e"],
        v: Float[Tensor, "n head e"],
    ) -> None:
        """Keys and values of some rows and positions."""
        self.keys[layer].index_put_(where, k)
        self.values[layer].index_put_(where, v)

    def read(
        self, layer: int, rows: Int[Tensor, " row"] | None, end: int
    ) -> tuple[Float[Tensor, "row key head e"], Float[Tensor, "row key head e"]]:
        """Keys and values of the first ``end`` positions."""
        keys, values = self.keys[layer][:, :end], self.values[layer][:, :end]
        if rows is None:
            return keys, values
        return keys.index_select(0, rows), values.index_select(0, rows)

    def owe(
        self,
        layer: int,
        rows: Int[Tensor, " n"] | None,
        pos: Int[Tensor, " n"],
        resid: Float[Tensor, "n d"],
    ) -> None:
        """Positions that did not come to this block, nor to any above it."""
        rows = self._every[: len(pos)] if rows is None else rows
        self.waiting[layer].append(Waiting(rows, pos, resid))

    def due(self, layer: int, rows: Int[Tensor, " row"] | None) -> Waiting | None:
        """The states in front of this block whose rows (None: all) are about to read it."""
        parts = self.waiting[layer]
        if not parts:
            return None
        every = Waiting.joined(parts)
        if rows is None:
            self.waiting[layer] = []
            return every
        reads = torch.zeros_like(self._every, dtype=torch.bool)
        reads[rows] = True
        mine = reads[every.rows]
        due, rest = every.take(mine.nonzero()[:, 0]), every.take((~mine).nonzero()[:, 0])
        self.waiting[layer] = [rest] if len(rest.rows) else []
        return due if len(due.rows) else None

    def fill(self, layer: int, due: Waiting, k: Tensor, v: Tensor) -> None:
        """Keys and values that were due; the states go on to the next block."""
        self.write(layer, (due.rows, due.pos), k, v)
        if layer + 1 < len(self.keys):
            self.waiting[layer + 1].append(due)

    def forgive(self) -> None:
        """Nothing is owed any more: what was, has been computed in full."""
        self.waiting = [[] for _ in self.waiting]

    def keep(self, stay: Int[Tensor, " kept"]) -> None:
        """Only these rows from now on, numbered anew."""
        new = torch.full_like(self._every, -1)
        new[stay] = self._every[: len(stay)]
        self.keys = [keys[stay] for keys in self.keys]
        self.values = [values[stay] for values in self.values]
        self._every = self._every[: len(stay)]
        for layer, parts in enumerate(self.waiting):
            if parts:
                every = Waiting.joined(parts)
                kept = every.take((new[every.rows] >= 0).nonzero()[:, 0])
                kept = Waiting(new[kept.rows], kept.pos, kept.resid)
                self.waiting[layer] = [kept] if len(kept.rows) else []
