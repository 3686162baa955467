"""What is kept of every position that has a next token: ``k`` layers, and a few numbers of the final output.

With p the model's own next-token distribution at a position, t_1 .. t_k its ranking, y the token that comes
next, and the rest R all outputs but t_1 .. t_k, for an inverse temperature b

    log p_b(v) = b log p(v) - A(b),   A(b) = log( sum_i p(t_i)^b + exp T(b) ),   T(b) = log sum_R p(v)^b

T and its slope are kept at some b, and read between them as cubics; log p(t_i) and log p(y) are kept as they
are. So every temperature can be judged without the vocabulary, in one pass over a corpus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from satlens.errors import InputError

BETAS = np.linspace(0.5, 2.0, 13)
"""Inverse temperatures at which T is kept: between them cubics are off by under 1e-4 nats a token (tests)."""


@dataclass(frozen=True, eq=False)
class NextTokens:
    """One row a position that has a next token, in order of document and position.

    Attributes:
        layer: ``[n, k]`` saturation layers of ranks 1 .. k.
        token: ``[n, k + 1]`` output ids at ranks 1 .. k + 1 of the model's own final output.
        logp: ``[n, k + 1]`` their log-probabilities, in nats.
        tail, tail_slope: ``[n, b]`` T and dT/db at `BETAS`.
        next: ``[n]`` id of the token that comes next in the same window. next_logp: ``[n]`` its log p.
        doc, pos: ``[n]`` document, and position inside it.
        n_layers: number of blocks L.
        settings: what made them.
    """

    layer: Int[ndarray, "n k"]
    token: Int[ndarray, "n m"]
    logp: Float[ndarray, "n m"]
    tail: Float[ndarray, "n b"]
    tail_slope: Float[ndarray, "n b"]
    next: Int[ndarray, " n"]
    next_logp: Float[ndarray, " n"]
    doc: Int[ndarray, " n"]
    pos: Int[ndarray, " n"]
    n_layers: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, k = self.layer.shape
        wanted = {
            "token": (n, k + 1), "logp": (n, k + 1), "tail": (n, len(BETAS)),
            "tail_slope": (n, len(BETAS)), "next": (n,), "next_logp": (n,), "doc": (n,), "pos": (n,),
        }  # fmt: skip
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(
                    f"NextTokens.{name} has shape {found}; with layer of shape {(n, k)} it must be {shape}."
                )
        if n and not (self.layer.min() >= 0 and self.layer.max() < self.n_layers):
            raise InputError(
                f"Saturation layers must be 0 .. {self.n_layers - 1}; found {self.layer.min()} .. "
                f"{self.layer.max()}."
            )

    def __len__(self) -> int:
        return len(self.layer)

    def __repr__(self) -> str:
        return (
            f"NextTokens({len(self):,} positions, {len(np.unique(self.doc)):,} documents, k={self.k}, "
            f"{self.n_layers} layers, top-1 right: {self.right.mean() if len(self) else np.nan:.3f})"
        )

    def __getitem__(self, rows: Any) -> "NextTokens":
        """Some positions: a slice, a boolean mask or an array of row numbers."""
        return self.replace(**{name: getattr(self, name)[rows] for name in COLUMNS})

    def replace(self, **columns: ndarray) -> "NextTokens":
        """The same with other values in some columns."""
        kept: dict[str, Any] = {name: columns.get(name, getattr(self, name)) for name in COLUMNS}
        return NextTokens(**kept, n_layers=self.n_layers, settings=self.settings)

    @staticmethod
    def concat(parts: "Sequence[NextTokens]") -> "NextTokens":
        """One table from many, in order of document and position."""
        columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS}
        order = np.lexsort((columns["pos"], columns["doc"]))
        columns = {name: values[order] for name, values in columns.items()}
        return NextTokens(**columns, n_layers=parts[0].n_layers, settings=parts[0].settings)

    def to_frame(self) -> pd.DataFrame:
        """One row a position: doc, pos, next, its rank (0: none of them) and log p, entropy, and of every
        rank i its token_i, logp_i and layer_i; of rank k + 1 the first two.
        """
        columns: dict[str, ndarray] = {
            "doc": self.doc, "pos": self.pos, "next": self.next, "next_rank": self.rank,
            "next_logp": self.next_logp, "entropy": self.entropy,
        }  # fmt: skip
        for name, values in (("token", self.token), ("logp", self.logp), ("layer", self.layer)):
            columns |= {f"{name}_{i + 1}": column for i, column in enumerate(values.T)}
        return pd.DataFrame(columns)

    @property
    def k(self) -> int:
        """Number of ranks followed."""
        return self.layer.shape[1]

    @property
    def lead(self) -> Int[ndarray, "n k"]:
        """Layers before the end at which a rank was fixed, ``L - 1 - s``; 0: fixed only at the last."""
        return self.n_layers - 1 - self.layer.astype(np.int64)

    @property
    def rank(self) -> Int[ndarray, " n"]:
        """The rank, 1 .. k + 1, that the next token has in the final ranking; 0 where it has none of them."""
        there = self.token == self.next[:, None]
        return np.where(there.any(1), there.argmax(1) + 1, 0)

    def places(self) -> list[tuple[int, int]]:
        """Document and position of every row."""
        return list(zip(self.doc.tolist(), self.pos.tolist(), strict=True))

    @property
    def right(self) -> Bool[ndarray, " n"]:
        """Where the model's top-1 is the next token."""
        return self.token[:, 0] == self.next

    @property
    def entropy(self) -> Float[ndarray, " n"]:
        """Of the model's own distribution, in nats."""
        top = self.logp[:, : self.k].astype(np.float64)
        one = int(np.argmin(np.abs(BETAS - 1)))
        tail = np.exp(self.tail[:, one].astype(np.float64)) * self.tail_slope[:, one]
        return -(np.exp(top) * top).sum(1) - tail

    def tail_at(self, beta: float) -> Float[ndarray, " n"]:
        """``T(beta)``, the log of the rest's summed powers."""
        return hermite(BETAS, self.tail, self.tail_slope, beta)

    def normaliser(self, beta: float) -> Float[ndarray, " n"]:
        """``A(beta)``, so that ``beta log p(v) - A(beta)`` is a log-probability."""
        top = beta * self.logp[:, : self.k].astype(np.float64)
        return np.logaddexp(np.logaddexp.reduce(top, axis=1), self.tail_at(beta))


COLUMNS = tuple(one.name for one in fields(NextTokens) if one.name not in ("n_layers", "settings"))


def hermite(
    at: Float[ndarray, " b"],
    value: Float[ndarray, "n b"],
    slope: Float[ndarray, "n b"],
    x: float,
) -> Float[ndarray, " n"]:
    """The cubics that have these values and slopes, at x.

    Raises:
        InputError: x outside of ``at``.

    >>> grid = np.array([0.0, 1.0, 2.0])
    >>> hermite(grid, grid[None] ** 3, 3 * grid[None] ** 2, 1.5).tolist()
    [3.375]
    """
    if not at[0] <= x <= at[-1]:
        raise InputError(
            f"The inverse temperature must lie between {at[0]:g} and {at[-1]:g}, got {x:g}."
        )
    i = min(int(np.searchsorted(at, x, side="right")) - 1, len(at) - 2)
    h = at[i + 1] - at[i]
    u = (x - at[i]) / h
    left, right = value[:, i].astype(np.float64), value[:, i + 1].astype(np.float64)
    return (
        (1 + 2 * u) * (1 - u) ** 2 * left
        + u**2 * (3 - 2 * u) * right
        + h * u * (1 - u) * ((1 - u) * slope[:, i] - u * slope[:, i + 1])
    )
