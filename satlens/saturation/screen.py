"""A pass over the vocabulary that names every output able to reach a row's threshold.

`FloatScreen` multiplies in float32, on any machine; `satlens.saturation.quantised.QuantisedScreen` in int8 or
bfloat16, with a bound on what that loses. Outputs come in blocks of 64: a block whose largest number is below
its limit is done.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.models.readout import Head
from satlens.saturation.exact import fast_type

BLOCK = 64
CHUNK = 4096
"""Outputs of one matrix product: ``rows * CHUNK`` numbers exist at a time."""
PRODUCT_BYTES = {"float32": 4, "int8": 4, "bfloat16": 2}
"""Of one number of a product, by the kind of its screen."""
ROWS = 1024
"""Rows of one matrix product."""


@runtime_checkable
class Query(Protocol):
    """Rows of features as a screen multiplies them; ``query[rows]`` picks some."""

    p: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "Query": ...

    def factors(self, threshold: Float[Tensor, " row"]) -> Float[Tensor, "row f"]:
        """The rows' part of the limits."""
        ...


@runtime_checkable
class Screen(Protocol):
    """Finds every output that can reach a row's threshold: `FloatScreen` or `QuantisedScreen`."""

    kind: str
    n_outputs: int
    padded: int
    """The vocabulary in whole blocks."""
    fused: bool
    """Whether `reaching` is at hand: the whole vocabulary in one kernel."""

    def query(self, x: Float[Tensor, "row d"]) -> Any:
        """Features as the screen multiplies them."""
        ...

    def product(self, query: Any, first: int = 0, last: int | None = None) -> Tensor:
        """The rows' products with a run of outputs, in a buffer that the next product overwrites."""
        ...

    def hits(
        self,
        product: Tensor,
        factors: Float[Tensor, "row f"],
        first: int = 0,
        largest: Tensor | None = None,
    ) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
        """Every (row, output) of a product that can reach the row's threshold, by row, ids ascending."""
        ...

    def reaching(
        self, query: Any, factors: Float[Tensor, "row f"]
    ) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
        """What `hits` finds in the whole vocabulary, without a product."""
        ...

    def largest(self, product: Tensor) -> Tensor:
        """The largest number of each block, for `hits` and `approximate` of one product."""
        ...

    def approximate(
        self, product: Tensor, query: Any, n: int, largest: Tensor | None = None
    ) -> Int[Tensor, "row n"]:
        """The n outputs of probably highest score, without any promise."""
        ...


class FloatScreen:
    """The head as it is, in float32: portable, and its products need no bound beside that of any fast sum."""

    kind = "float32"
    fused = False

    def __init__(self, head: Head) -> None:
        self.head, self.n_outputs = head, len(head)
        self.padded = -(-self.n_outputs // BLOCK) * BLOCK
        self._buffer = Buffer()

    def query(self, x: Float[Tensor, "row d"]) -> "FloatQuery":
        """Feature rows in the type of the fast sums."""
        return FloatQuery(x.to(fast_type(self.head.weight.dtype)))

    def product(self, query: "FloatQuery", first: int = 0, last: int | None = None) -> Tensor:
        """``W x + b`` of a run of outputs; -inf behind the last one."""
        last = self.padded if last is None else last
        inside = slice(first, min(last, self.n_outputs))
        out = self._buffer.of(len(query.p), last - first, query.p.dtype, query.p.device)
        scores = out[:, : inside.stop - first]
        # A type narrower than float32 is exact in it; only a run of outputs is converted at a time.
        for start in range(0, scores.shape[1], 2 * CHUNK):
            run = slice(first + start, min(first + start + 2 * CHUNK, inside.stop))
            weight = self.head.weight[run].to(query.p.dtype)
            torch.mm(query.p, weight.T, out=scores[:, start : start + len(weight)])
        if self.head.bias is not None:
            scores += self.head.bias[inside].to(scores.dtype)
        out[:, scores.shape[1] :] = -torch.inf
        return out

    def hits(
        self,
        product: Tensor,
        factors: Float[Tensor, "row 1"],
        first: int = 0,
        largest: Tensor | None = None,
    ) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
        """Every (row, output) at or above the row's threshold."""
        blocks = product.view(len(product), -1, BLOCK)
        largest = blocks.amax(-1) if largest is None else largest
        row, block = (largest >= factors).nonzero(as_tuple=True)
        hit, place = (blocks[row, block] >= factors[row]).nonzero(as_tuple=True)
        return row[hit], first + block[hit] * BLOCK + place

    def reaching(
        self, query: "FloatQuery", factors: Float[Tensor, "row 1"]
    ) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
        """In the one product that there is."""
        return self.hits(self.product(query), factors)

    def largest(self, product: Tensor) -> Tensor:
        """The largest score of each block."""
        return product.view(len(product), -1, BLOCK).amax(-1)

    def approximate(
        self, product: Tensor, query: "FloatQuery", n: int, largest: Tensor | None = None
    ) -> Int[Tensor, "row n"]:
        """The n outputs of highest fast score."""
        blocks = product.view(len(product), -1, BLOCK)
        largest = blocks.amax(-1) if largest is None else largest
        chosen = largest.topk(min(n, blocks.shape[1]), dim=1).indices
        inside = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
        ids = chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=chosen.device)
        return ids.flatten(1).gather(1, inside.topk(min(n, self.n_outputs), dim=1).indices)


@dataclass(frozen=True, eq=False)
class FloatQuery:
    """Feature rows, in the type of the fast sums."""

    p: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "FloatQuery":
        return FloatQuery(self.p[rows])

    def factors(self, threshold: Float[Tensor, " row"]) -> Float[Tensor, "row 1"]:
        """The threshold itself: it has the room for a fast sum's error already."""
        return threshold[:, None]


class Buffer(threading.local):
    """Memory for one product after another, of each thread its own: screens are kept with the model, and
    fresh memory of this size costs more than it holds.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def of(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uninitialised ``[rows, columns]``, valid until the next call."""
        if self._memory is None or self._memory.numel() < rows * columns:
            self._memory = torch.empty(rows * columns, dtype=dtype, device=device)
        return self._memory[: rows * columns].view(rows, columns)


def runs(padded: int) -> Iterator[tuple[int, int]]:
    """The vocabulary in runs of whole blocks."""
    for start in range(0, padded, CHUNK):
        yield start, min(start + CHUNK, padded)
