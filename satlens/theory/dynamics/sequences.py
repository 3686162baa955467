"""Sequences with tokens that tell the next one, and tokens that do not.

A class n is one next token. Its sequences end in a query token m(n), shared by the classes of that query;
the length - 1 tokens before it are drawn independently from

    P(l | n) = w_l / sum w      w_l = 1             common tokens, shared by all classes
                                w_l = low .. high   the distinct tokens of class n, in equal steps

so that distinct tokens differ in how often they occur with their next token. Nothing depends on positions:
a sequence is the number of times that each token occurs before the query.

Source: the generator of the published runs of Tian et al. 2023 (arXiv 2305.16380; repository luckmatters,
`scan_snap/figure_6.log`), whose numbers are the defaults. ``labels="shuffled"`` is ours.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.errors import InputError

LABELS = ("own", "shuffled")


@dataclass(frozen=True)
class Sequences:
    """A generator of sequences; numbers of tokens, and how often they occur.

    Attributes:
        queries: query tokens m.
        next_per_query: classes (next tokens) of each query.
        common: tokens that all classes share.
        distinct: tokens that each class has for itself.
        length: tokens of a sequence, the query counted.
        low, high: the least and the largest weight of a distinct token; a common one has 1.
        labels: "own", or "shuffled": the next token is drawn among all of them, whatever came before it. Then
            no token is distinct, of a next token or of those of one query, and everything else is the same.

    Example:
        >>> two = Sequences(queries=1, common=2, distinct=2, low=0.5, high=1.5)
        >>> two.tokens.tolist(), two.probability.round(3).tolist()
        ([[0, 1, 2, 3], [0, 1, 4, 5]], [0.25, 0.25, 0.125, 0.375])
    """

    queries: int = 3
    next_per_query: int = 2
    common: int = 10
    distinct: int = 10
    length: int = 128
    low: float = 0.1
    high: float = 1.0
    labels: str = "own"

    def __post_init__(self) -> None:
        least = {"queries": 1, "next_per_query": 1, "common": 1, "distinct": 1, "length": 2}
        for name, value in least.items():
            found = getattr(self, name)
            if isinstance(found, bool) or not isinstance(found, int) or found < value:
                raise InputError(
                    f"Sequences.{name} must be a whole number of {value} or more, got {found!r}."
                )
        if not 0 < self.low <= self.high:
            raise InputError(
                f"The weights of distinct tokens run from low to high, above 0; got low={self.low}, "
                f"high={self.high}."
            )
        if self.labels not in LABELS:
            raise InputError(f"labels is {self.labels!r}; it must be 'own' or 'shuffled'.")
        if self.labels == "shuffled" and self.classes < 2:
            raise InputError("Labels can be shuffled only among 2 or more next tokens.")

    @property
    def classes(self) -> int:
        """Next tokens, K."""
        return self.queries * self.next_per_query

    @property
    def keys(self) -> int:
        """Tokens that can stand before the query: the common ones first, then the distinct ones by class."""
        return self.common + self.classes * self.distinct

    @property
    def vocabulary(self) -> int:
        """All tokens M: keys, then queries, then next tokens."""
        return self.keys + self.queries + self.classes

    @cached_property
    def tokens(self) -> Int[ndarray, "n token"]:
        """The tokens of each class: the common ones, then its own from the rarest on."""
        own = self.common + np.arange(self.classes * self.distinct).reshape(self.classes, -1)
        shared = np.tile(np.arange(self.common), (self.classes, 1))
        return np.concatenate([shared, own], axis=1)

    @cached_property
    def probability(self) -> Float[ndarray, " token"]:
        """``P(l | n)`` of these tokens, the same for every class."""
        weight = np.concatenate(
            [np.ones(self.common), np.linspace(self.low, self.high, self.distinct)]
        )
        return weight / weight.sum()

    def draw(
        self, rng: np.random.Generator, batch: int
    ) -> tuple[Float[ndarray, "batch key"], Int[ndarray, " batch"], Int[ndarray, " batch"]]:
        """Counts of each key before the query, the query (0 ..), and the id of the next token.

        >>> counts, query, target = Sequences(queries=1).draw(np.random.default_rng(0), 4)
        >>> counts.shape, counts.sum(1).tolist(), query.tolist()
        ((4, 30), [127.0, 127.0, 127.0, 127.0], [0, 0, 0, 0])
        """
        of = rng.integers(self.classes, size=batch)
        drawn = rng.multinomial(self.length - 1, self.probability, size=batch)
        counts = np.zeros((batch, self.keys))
        np.put_along_axis(counts, self.tokens[of], drawn.astype(float), axis=1)
        query = of // self.next_per_query
        if self.labels == "shuffled":
            of = rng.integers(self.classes, size=batch)
        return counts, query, self.keys + self.queries + of

    def to_dict(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return asdict(self)
