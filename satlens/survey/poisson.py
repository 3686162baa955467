"""Intervals over documents that come in a stream and are not kept: the Poisson bootstrap.

`satlens.resampling` draws corpora with counts w ~ Multinomial(D, 1/D), which needs D and all documents at
once. Independent counts have nearly the same law, and each needs its own document only:

    w_bd ~ Poisson(1),     S_b = sum_d w_bd S_d,     g_b = g(S_b),     interval = quantiles of g_b

for draws b, documents d and sums S_d over the tokens of a document. S_b is all that is kept: draws x m
numbers, whatever the number of documents. The w of a document follow from the seed and its number, so that
neither shards nor their order change an interval.
"""

from collections.abc import Callable
from typing import cast

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.resampling import (
    DRAWS,
    LEVEL,
    TOO_FEW_DOCUMENTS,
    Intervals,
    check_draws,
    quantiles,
    share_not_above,
)

BLOCK = 64
"""Documents whose counts come from one generator."""


def poisson_weights(doc: Int[ndarray, " doc"], draws: int, seed: int) -> UInt8[ndarray, "doc draw"]:
    """How often each document occurs in each resampled corpus.

    >>> whole = poisson_weights(np.arange(100), draws=3, seed=0)
    >>> bool((whole[70:90] == poisson_weights(np.arange(70, 90), draws=3, seed=0)).all())
    True
    """
    weights = np.empty((len(doc), draws), dtype=np.uint8)
    block = doc // BLOCK
    for number in np.unique(block):
        rows = np.random.default_rng([seed, int(number)]).poisson(1.0, size=(BLOCK, draws))
        weights[block == number] = rows[doc[block == number] % BLOCK]
    return weights


class PoissonBootstrap:
    """Sums of documents in, intervals out; memory of draws x m numbers.

    Example:
        >>> online = PoissonBootstrap(draws=500)
        >>> for doc in range(40):
        ...     online.update(np.array([doc]), np.array([[doc % 2, 1.0]]))
        >>> result = online.intervals(lambda s: s[..., :1] / s[..., 1:])
        >>> result.value.tolist(), result.documents, bool(result.low[0] < 0.5 < result.high[0])
        ([0.5], 40, True)

    Source: Hanley and MacGibbon 2006; Chamandy et al. 2012.
    """

    def __init__(self, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED) -> None:
        check_draws(draws, level)
        self.draws, self.level, self.seed = draws, level, seed
        self.documents = 0
        self.total: Float[ndarray, " m"] | None = None
        self._drawn: Float[ndarray, "draw m"] | None = None

    def update(self, doc: Int[ndarray, " doc"], sums: Float[ndarray, "doc m"]) -> None:
        """Take the sums of some documents, each document once."""
        drawn, total = self._drawn, self.total
        if drawn is None or total is None:
            self.total = total = np.zeros(sums.shape[1])
            self._drawn = drawn = np.zeros((self.draws, sums.shape[1]))
        for first in range(0, len(doc), BLOCK):
            part = sums[first : first + BLOCK]
            weights = poisson_weights(doc[first : first + BLOCK], self.draws, self.seed)
            drawn += weights.T.astype(np.float64) @ part
            total += part.sum(0)
        self.documents += len(doc)

    def intervals(
        self,
        statistic: Callable[[Float[ndarray, "... m"]], Float[ndarray, "... q"]],
        *,
        interpolate: bool = True,
    ) -> Intervals:
        """A statistic of the sums, as `satlens.resampling.bootstrap` gives it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.asarray(statistic(cast(ndarray, self.total)), dtype=float)
            low = np.full(value.shape, np.nan)
            high, p, note = low, low, TOO_FEW_DOCUMENTS.format(self.documents)
            if self.documents > 1:
                note, drawn = "", np.asarray(statistic(cast(ndarray, self._drawn)))
                low, high = quantiles(drawn, self.level, interpolate)
                p = share_not_above(drawn)
        return Intervals(
            value, low, high, self.level, self.draws, self.seed, self.documents, note, p
        )
