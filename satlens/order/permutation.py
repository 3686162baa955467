"""Tests by shuffling layers inside tokens, and by flipping the signs of documents.

Inside tokens: C counts the pairs of ranks i < j with s_i < s_j. When the k layers of a token are shuffled
and the first m kept, the law of C depends only on m and on how the layers tie, and is known
(`ascents_law`), so that a draw over all tokens of one kind is one multinomial.

Over documents: x_d is a number per document whose sign is arbitrary under the null.

    p = (draws at least as large as the observed + 1) / (draws + 1)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.resampling import DRAWS, LEVEL, check_draws

EXACT_DOCUMENTS = 14
"""Up to this many documents all ``2**D`` sign patterns are counted instead of drawn."""
_CHUNK = 2**22


@dataclass(frozen=True)
class Test:
    """A one- or two-sided test: its statistic, its p-value, and what drew it."""

    __test__ = False  # not a test case, whatever its name

    statistic: float
    p: float
    alternative: str = "greater"
    draws: int = 0
    seed: int = DEFAULT_SEED
    exact: bool = False
    note: str = ""


def permutation_p(observed: float, drawn: Float[ndarray, " draw"], alternative: str) -> float:
    """``(hits + 1) / (draws + 1)``: never 0, and right under the null for any number of draws.

    >>> permutation_p(3.0, np.array([1.0, 2.0, 3.0, 0.0]), "greater")
    0.4
    """
    slack = 1e-9 * max(1.0, abs(observed))  # sums of the same numbers in another order are a tie
    above = int((drawn >= observed - slack).sum())
    below = int((drawn <= observed + slack).sum())
    one_sided = {"greater": above, "less": below}
    if alternative in one_sided:
        return (one_sided[alternative] + 1) / (len(drawn) + 1)
    return min(1.0, 2 * (min(above, below) + 1) / (len(drawn) + 1))


@lru_cache(maxsize=4096)
def mann_whitney_law(a: int, b: int) -> tuple[float, ...]:
    """P(u pairs in order), u = 0 .. a*b, when ``a`` lower and ``b`` higher values are shuffled."""
    if a == 0 or b == 0:
        return (1.0,)
    law = np.zeros(a * b + 1)
    # The last of the shuffled values is a lower one, or a higher one: then it adds a pairs.
    law[: (a - 1) * b + 1] += a / (a + b) * np.array(mann_whitney_law(a - 1, b))
    law[a:] += b / (a + b) * np.array(mann_whitney_law(a, b - 1))
    return tuple(law)


@lru_cache(maxsize=4096)
def ascents_law(ties: tuple[int, ...], keep: int) -> Float[ndarray, " ascents"]:
    """P(c ascending pairs among the first ``keep``) when values of these multiplicities are shuffled.

    ``ties`` holds how often each distinct value occurs, lowest value first.

    >>> ascents_law((1, 1, 1), keep=3).round(3).tolist()
    [0.167, 0.333, 0.333, 0.167]
    """
    laws = {0: np.ones(1)}  # by the number of values kept so far, from the lowest value up
    for size in ties:
        grown = {}
        for kept, law in laws.items():
            for more in range(min(size, keep - kept) + 1):
                term = comb(size, more) * np.convolve(law, mann_whitney_law(kept, more))
                old = grown.get(kept + more, np.zeros(1))
                total = np.zeros(max(len(old), len(term)))
                total[: len(old)] += old
                total[: len(term)] += term
                grown[kept + more] = total
        laws = grown
    return laws[keep] / laws[keep].sum()


def permuted_ascents(
    layer: Int[ndarray, "token k"],
    keep: Int[ndarray, " token"],
    weight: Callable[[int], float],
    *,
    draws: int,
    seed: int,
) -> Float[ndarray, " draw"]:
    """Sum over tokens of ``weight(keep) * ascending pairs`` after a shuffle inside every token."""
    rng = np.random.default_rng(seed)
    ranked = np.sort(layer, axis=1)
    equal = (ranked[:, 1:] == ranked[:, :-1]).astype(np.int16)
    kinds, counts = np.unique(np.column_stack([keep, equal]), axis=0, return_counts=True)
    drawn = np.zeros(draws)
    for (kept, *same), count in zip(kinds.tolist(), counts, strict=True):
        ends = [i + 1 for i, tie in enumerate(same) if not tie] + [layer.shape[1]]
        law = ascents_law(tuple(np.diff(ends, prepend=0).tolist()), int(kept))
        drawn += weight(int(kept)) * (rng.multinomial(count, law, size=draws) @ np.arange(len(law)))
    return drawn


def sign_flip(
    values: Float[ndarray, " doc"],
    *,
    alternative: str = "greater",
    draws: int = DRAWS,
    seed: int = DEFAULT_SEED,
) -> Test:
    """Is the mean of one number per document above 0? Each sign is as likely as the other under the null.

    Exact (all sign patterns) up to `EXACT_DOCUMENTS` documents, drawn beyond that.

    Example:
        >>> sign_flip(np.array([1.0, 2.0, 3.0])).p
        0.125
    """
    check_alternative(alternative)
    check_draws(draws, LEVEL)
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        note = "no test: no document has anything to compare"
        return Test(np.nan, np.nan, alternative, 0, seed, note=note)
    observed = float(values.mean())
    if n > EXACT_DOCUMENTS:
        rng = np.random.default_rng(seed)
        chunk = max(1, _CHUNK // n)
        sizes = [min(chunk, draws - start) for start in range(0, draws, chunk)]
        drawn = np.concatenate([_signs(rng.random((size, n)) < 0.5) @ values / n for size in sizes])
        p = permutation_p(observed, drawn, alternative)
        return Test(observed, p, alternative, draws, seed)
    patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    drawn = _signs(patterns.astype(bool)) @ values / n
    # The observed signs are one of the patterns: it takes the place of the + 1.
    p = permutation_p(observed, np.delete(drawn, 0), alternative)
    return Test(observed, p, alternative, 2**n, seed, exact=True)


def _signs(flip: Bool[ndarray, "draw doc"]) -> Float[ndarray, "draw doc"]:
    return 1.0 - 2.0 * flip


def check_alternative(alternative: str) -> None:
    """Refuse an unknown side of a test."""
    if alternative not in ("greater", "less", "two-sided"):
        raise InputError(
            f"alternative is {alternative!r}; it must be 'greater' (ranks fixed in order), 'less' or "
            "'two-sided'."
        )
