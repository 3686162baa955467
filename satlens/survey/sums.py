"""What the statistics of a survey need of one document: sums over its tokens.

    histogram    H[i, l] = tokens whose rank i is fixed at layer l        (k L numbers)
    order        the sums of `satlens.order.excess.STATISTICS`: pairs of ranks, strict tau
    published    sum of in-order shares, and the number, of the tokens that the paper keeps
    tokens       their number

Every statistic here is a function of such sums, so documents can be weighted and then forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.order.excess import STATISTICS
from satlens.order.tau import in_order_shares, kept_ranks

ORDER = ("concordance", "comparable", "strict_tau")
DOCUMENTS = 512
"""Documents summed at a time."""


@dataclass(frozen=True)
class Layout:
    """Which columns of the sums are what; ``k`` ranks, ``n_layers`` layers."""

    k: int
    n_layers: int

    @cached_property
    def columns(self) -> dict[str, slice]:
        """The columns by name."""
        widths = {"histogram": self.k * self.n_layers, "tokens": 1}
        if self.k > 1:
            widths |= {"concordance": 3, "comparable": 2, "strict_tau": 2, "paper": 2}
        ends = np.cumsum([0, *widths.values()])
        return {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(widths)}

    def part(self, sums: Float[ndarray, "... m"], name: str) -> Float[ndarray, "... q"]:
        """Some columns of sums."""
        return sums[..., self.columns[name]]

    def shares(self, sums: Float[ndarray, "... m"]) -> Float[ndarray, "... k layer"]:
        """Share of tokens fixed at each layer, per rank."""
        counts = self.part(sums, "histogram").reshape(*sums.shape[:-1], self.k, self.n_layers)
        return counts / self.part(sums, "tokens")[..., None]


def document_sums(
    layer: Int[ndarray, "token k"], doc: Int[ndarray, " token"], layout: Layout
) -> Iterator[tuple[Int[ndarray, " doc"], Float[ndarray, "doc m"]]]:
    """Numbers and sums of documents, some at a time; tokens of a document stand together."""
    starts = np.flatnonzero(np.diff(doc, prepend=-1))
    for first in range(0, len(starts), DOCUMENTS):
        begins = starts[first : first + DOCUMENTS]
        after = first + len(begins)
        end = starts[after] if after < len(starts) else len(doc)
        yield doc[begins], _sums(layer[begins[0] : end], begins - begins[0], layout)


def _sums(layer: ndarray, starts: ndarray, layout: Layout) -> Float[ndarray, "doc m"]:
    n, k, n_layers = len(layer), layout.k, layout.n_layers
    row = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
    cell = (row[:, None] * k + np.arange(k)) * n_layers + layer
    counts = np.bincount(cell.ravel(), minlength=len(starts) * k * n_layers)
    parts = [counts.reshape(len(starts), -1), np.bincount(row)[:, None]]
    if k > 1:
        values = [STATISTICS[name].per_token(layer, n_layers) for name in ORDER]
        values.append(paper_parts(layer, n_layers))
        tokens = np.concatenate(values, axis=1, dtype=np.float64)
        parts.append(np.add.reduceat(tokens, starts, axis=0))
    return np.concatenate(parts, axis=1, dtype=np.float64)


def paper_parts(layer: Int[ndarray, "token k"], n_layers: int) -> Float[ndarray, "token 2"]:
    """Per token the share of its kept pairs in order, and whether it is kept: `order.paper_tau`."""
    m = kept_ranks(layer, n_layers)
    return np.column_stack([in_order_shares(layer, m), m > 0])
