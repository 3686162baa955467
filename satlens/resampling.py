"""Intervals that treat documents, not tokens, as the units.

Bootstrap over documents (cluster bootstrap): a statistic ``g`` of sums over tokens is a function of the
sums ``S_d`` of each document, so a resampled corpus is a vector of counts ``w``:

    w ~ Multinomial(D, 1/D),    g* = g(sum_d w_d S_d),    interval = quantiles of g* at (1 -+ level) / 2

The same draws give a one-sided p-value, of "the statistic is not above 0":

    p = (#{g* <= 0} + 1) / (draws + 1)

so that the interval of level 0.95 lies above 0 where p is below 0.025. Every result carries the draws, the
seed and the level that made it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError

DRAWS = 2000
"""Draws of a bootstrap or of a test, when nothing else is said."""
LEVEL = 0.95
_CHUNK = 2**22
TOO_FEW_DOCUMENTS = "no interval: documents are its units, and it needs at least 2 (found {})"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval over documents; NaN ends where there is none, and why in ``note``.

    Attributes:
        p: one-sided, of "it is not above 0", from the same draws; NaN where there are none.
    """

    value: float
    low: float
    high: float
    level: float = LEVEL
    draws: int = 0
    seed: int = DEFAULT_SEED
    documents: int = 0
    note: str = ""
    p: float = np.nan

    def to_dict(self) -> dict[str, Any]:
        """``{"value": ..., "ci": [low, high]}``, None for what is not known.

        >>> Estimate(0.5, 0.25, 0.75).to_dict()
        {'value': 0.5, 'ci': [0.25, 0.75]}
        """
        ends = [finite(self.low), finite(self.high)]
        return {"value": finite(self.value), "ci": None if ends == [None, None] else ends}


@dataclass(frozen=True)
class Intervals:
    """Several statistics of one bootstrap: ``value``, ``low``, ``high`` and ``p`` have one shape."""

    value: Float[ndarray, "..."]
    low: Float[ndarray, "..."]
    high: Float[ndarray, "..."]
    level: float
    draws: int
    seed: int
    documents: int
    note: str
    p: Float[ndarray, "..."]

    def __getitem__(self, index: Any) -> Estimate:
        return Estimate(
            float(self.value[index]), float(self.low[index]), float(self.high[index]),
            self.level, self.draws, self.seed, self.documents, self.note, float(self.p[index]),
        )  # fmt: skip

    def map(self, change: Callable[[ndarray], ndarray]) -> "Intervals":
        """The same with every array cut or shaped by ``change``."""
        arrays = {name: change(getattr(self, name)) for name in ("value", "low", "high", "p")}
        return replace(self, **arrays)


def finite(value: float | np.floating[Any]) -> float | None:
    """A plain float for JSON, or None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def by_document(
    values: Shaped[ndarray, "*draw token m"], doc: Int[ndarray, " token"]
) -> Float[ndarray, "*draw doc m"]:
    """Sums over the tokens of each document, documents in ascending order of their number.

    >>> by_document(np.array([[1.0], [2.0], [4.0]]), np.array([7, 3, 7])).tolist()
    [[2.0], [5.0]]
    """
    order = np.argsort(doc, kind="stable")
    starts = np.flatnonzero(np.diff(doc[order], prepend=doc[order[0]] - 1))
    return np.add.reduceat(values[..., order, :], starts, axis=-2, dtype=np.float64)


def document_weights(documents: int, draws: int, seed: int) -> Iterator[Int[ndarray, "chunk doc"]]:
    """How often each document occurs in each resampled corpus, some draws at a time."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // documents)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        yield rng.multinomial(documents, np.full(documents, 1 / documents), size=size)


def bootstrap(
    sums: Float[ndarray, "doc m"],
    statistic: Callable[[Float[ndarray, "... m"]], Float[ndarray, "... q"]],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
    interpolate: bool = True,
) -> Intervals:
    """The percentile interval of ``statistic(sums.sum(0))`` when documents are drawn again.

    Args:
        sums: what the statistic needs, summed over the tokens of each document.
        statistic: from summed sums ``[..., m]`` to the statistics ``[..., q]``; NaN where undefined.
        interpolate: False for statistics that are whole numbers or infinite (a median layer).

    Raises:
        InputError: draws below 1, or a level outside (0, 1).

    Source: cluster bootstrap, Davison and Hinkley 1997, section 3.8.

    Example:
        >>> mean = lambda s: s[..., :1] / s[..., 1:]
        >>> print(bootstrap(np.array([[2.0, 4.0], [6.0, 4.0]]), mean)[0].to_dict())
        {'value': 1.0, 'ci': [0.5, 1.5]}
    """
    check_draws(draws, level)
    documents = len(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.asarray(statistic(sums.sum(0)), dtype=float)
        if documents < 2:
            nan = np.full(value.shape, np.nan)
            note = TOO_FEW_DOCUMENTS.format(documents)
            return Intervals(value, nan, nan, level, draws, seed, documents, note, nan)
        drawn = [statistic(w @ sums) for w in document_weights(documents, draws, seed)]
    drawn = np.concatenate(drawn)
    low, high = quantiles(drawn, level, interpolate)
    return Intervals(value, low, high, level, draws, seed, documents, "", share_not_above(drawn))


def quantiles(
    drawn: Float[ndarray, "..."], level: float, interpolate: bool = True
) -> tuple[Float[ndarray, "..."], Float[ndarray, "..."]]:
    """Both ends along axis 0, the draws, over those in which the statistic is defined (not NaN)."""
    ends = [(1 - level) / 2, (1 + level) / 2]
    method = "linear" if interpolate else "inverted_cdf"
    if not np.isnan(drawn).any():
        low, high = np.quantile(drawn, ends, axis=0, method=method)
        return low, high
    low, high = np.full((2, *drawn.shape[1:]), np.nan)
    for index in np.ndindex(drawn.shape[1:]):
        known = drawn[(slice(None), *index)]
        known = known[~np.isnan(known)]
        if len(known):
            low[index], high[index] = np.quantile(known, ends, method=method)
    return low, high


def share_not_above(drawn: Float[ndarray, "draw ..."]) -> Float[ndarray, "..."]:
    """``(draws at 0 or below + 1) / (draws + 1)`` along axis 0, over those in which it is defined.

    >>> share_not_above(np.array([-1.0, 2.0, 3.0, np.nan, 4.0])).item()
    0.4
    """
    known = (~np.isnan(drawn)).sum(0)
    return np.where(known > 0, ((drawn <= 0).sum(0) + 1) / (known + 1), np.nan)


def check_draws(draws: int, level: float) -> None:
    """Refuse numbers of draws and levels that mean nothing."""
    if draws < 1:
        raise InputError(f"draws must be at least 1, got {draws}.")
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1 (0.95 for a 95 % interval), got {level}.")
