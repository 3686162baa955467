"""What the final output alone says of a rank being right: expected share, features, strata.

At a position whose top-1 is wrong, for rank i with final probabilities p_1 >= p_2 >= .. and entropy H,

    expected      e = p_i / (1 - p_1)                     the model's own probability that rank i is right
    features      log p_i,  logit p_1,  H,  log p_{i-1} - log p_i,  log p_i - log p_{i+1}
    basis         each feature, its hinges max(0, x - q) at quantiles q, and the products of pairs
    strata        quantiles of e, inside them quantiles of H, inside them of the margin below

A rank is fixed early by arithmetic where its margins are wide, and is right more often where its probability
is high: whoever compares early with late compares sure with unsure, unless these are held. No outcome is
looked at.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.reranking.tokens import NextTokens

FEATURES = ("log p", "logit p1", "entropy", "margin above", "margin below")
HINGES = (0.2, 0.4, 0.6, 0.8)
BINS = (10, 3, 2)
"""Quantiles of the expected share, of the entropy inside each, of the margin below inside each of those."""
PER_STRATUM = 20
"""With fewer positions than this in a stratum, there are fewer strata."""
_OUTER = 0.005


def expected(tokens: NextTokens, rank: int) -> Float[ndarray, " n"]:
    """The model's own probability that ``rank`` is right, given that rank 1 is not."""
    logp = tokens.logp.astype(np.float64)
    return np.exp(logp[:, rank - 1] - np.log(_not(logp[:, 0]))).clip(0, 1)


def features(tokens: NextTokens, rank: int) -> Float[ndarray, "n 5"]:
    """The columns of `FEATURES`, for a rank of 2 or more."""
    logp = tokens.logp.astype(np.float64)
    own = logp[:, rank - 1]
    return np.column_stack([
        own,
        logp[:, 0] - np.log(_not(logp[:, 0])),
        tokens.entropy,
        (logp[:, rank - 2] - own).clip(0),
        (own - logp[:, rank]).clip(0),
    ])  # fmt: skip


def _not(logp: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """``1 - p``, kept off 0: float32 knows no more."""
    return -np.expm1(np.minimum(logp, -1e-7))


def basis(x: Float[ndarray, "n f"]) -> Float[ndarray, "n c"]:
    """Columns in which a smooth function of the features is nearly linear, each of mean 0 and spread 1.

    Beyond the outer quantiles a feature is held constant, so that no single position decides a fit.

    >>> basis(np.random.default_rng(0).normal(size=(100, 2))).shape
    (100, 11)
    """
    x = np.clip(x, *np.quantile(x, [_OUTER, 1 - _OUTER], axis=0))
    x = standard(x)
    columns = [x]
    for one in x.T:
        knots = np.unique(np.quantile(one, HINGES))
        columns.append(np.maximum(0, one[:, None] - knots))
    for i in range(x.shape[1]):
        for j in range(i):
            columns.append(x[:, i : i + 1] * x[:, j : j + 1])
    return standard(np.concatenate(columns, axis=1))


def standard(x: Float[ndarray, "n f"]) -> Float[ndarray, "n f"]:
    """Mean 0 and spread 1; a constant column is 0."""
    x = x - x.mean(0)
    spread = x.std(0)
    return x / np.where(spread > 1e-12, spread, np.inf)


def strata(tokens: NextTokens, rank: int) -> Int[ndarray, " n"]:
    """The stratum, 0, 1, .., of every position: like positions, as far as the final output tells."""
    inner = features(tokens, rank)
    return nested([expected(tokens, rank), inner[:, 2], inner[:, 4]])


def nested(
    columns: list[Float[ndarray, " n"]],
    bins: tuple[int, ...] = BINS,
    per_stratum: int = PER_STRATUM,
) -> Int[ndarray, " n"]:
    """Cells of like size: quantiles of the first column, inside each of the second, and so on.

    >>> nested([np.array([3.0, 1.0, 2.0, 4.0])], (2,), per_stratum=1).tolist()
    [1, 0, 0, 1]
    """
    n = len(columns[0])
    cell = np.zeros(n, np.int64)
    made = 1
    for column, most in zip(columns, bins, strict=True):
        parts = int(np.clip(n // (made * per_stratum), 1, most))
        order = np.lexsort((column, cell))
        size = np.bincount(cell, minlength=made)
        start = np.cumsum(size) - size
        within = np.empty(n, np.int64)
        within[order] = np.arange(n) - start[cell[order]]
        cell = cell * parts + within * parts // np.maximum(size[cell], 1)
        made *= parts
    return cell
