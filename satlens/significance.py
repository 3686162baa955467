"""Tests in which documents, or draws of a null, are what chance deals with.

Over documents: x_d is a number per document whose sign is arbitrary under the null, so that every pattern of
signs is as likely as any other. Over draws of a null:

    p = (draws at least as large as the observed + 1) / (draws + 1)

Over several tests, so that any false one among them is as rare as one test's would be (Holm 1979), with p_(1)
<= .. <= p_(m):

    adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j))
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
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


def holm(p: Float[ndarray, " test"]) -> Float[ndarray, " test"]:
    """P-values adjusted for how many there are; NaN is no test, stays NaN, and does not count.

    Example:
        >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
        [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p, dtype=float)
    if ((p < 0) | (p > 1)).any():
        raise InputError(f"p-values lie between 0 and 1; got {p[(p < 0) | (p > 1)][0]:g}.")
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


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
            f"alternative is {alternative!r}; it must be 'greater', 'less' or 'two-sided'."
        )
