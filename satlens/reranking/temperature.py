"""The one number that is fitted first: the inverse temperature with the smallest loss.

loss(b) = mean of  A(b) - b log p(y)          A: see `satlens.reranking.tokens`; convex in b
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import minimize_scalar

from satlens.reranking.tokens import BETAS, NextTokens


def losses(tokens: NextTokens, beta: float = 1.0) -> Float[ndarray, " n"]:
    """``-log p_b(y)`` at each position, in nats."""
    if beta == 1.0:
        return -tokens.next_logp.astype(np.float64)
    return tokens.normaliser(beta) - beta * tokens.next_logp.astype(np.float64)


def fit_temperature(tokens: NextTokens) -> float:
    """The inverse temperature b = 1 / T with the smallest loss, between the ends of `BETAS`."""
    found = minimize_scalar(
        lambda beta: losses(tokens, beta).mean(),
        bounds=(BETAS[0], BETAS[-1]),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(found.x)


def at_the_end(beta: float) -> bool:
    """Whether a fitted value lies at an end of what is allowed."""
    return bool(min(beta - BETAS[0], BETAS[-1] - beta) < 1e-3)
