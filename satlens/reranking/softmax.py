"""A softmax over k ranks and the rest, with a known offset: convex, few parameters, by Newton's method.

With offsets o_c (c = 1 .. k and the rest), features x_i of rank i, and q_c = exp(z_c) / sum exp(z),

    z_i = o_i + w_i . x_i,    z_rest = o_rest,        loss = - sum log q_y + |w|^2 / (2 C)

    gradient in w_i          sum (q_i - 1[y = i]) x_i + w_i / C
    second derivative        sum q_i (1[i = j] - q_j) x_i x_j' + 1[i = j] / C

The loss is convex and grows without bound, so it has one smallest point; w = 0 is the distribution of the
offsets.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

STEPS = 50
TOLERANCE = 1e-8
"""Newton's decrement, relative to the loss, at which the fit ends."""


def log_shares(
    offset: Float[ndarray, "n c"], x: Float[ndarray, "n k m"], w: Float[ndarray, "k m"]
) -> Float[ndarray, "n c"]:
    """``log q`` of ranks 1 .. k and of the rest (the last column)."""
    z = np.array(offset, dtype=np.float64)
    z[:, :-1] += np.einsum("nkm,km->nk", x, w)
    return z - np.logaddexp.reduce(z, axis=1, keepdims=True)


def fit_softmax(
    offset: Float[ndarray, "n c"],
    x: Float[ndarray, "n k m"],
    y: Int[ndarray, " n"],
    C: float = 1.0,
) -> tuple[Float[ndarray, "k m"], bool]:
    """The weights, and whether the fit has ended; y is the class, 0 .. k (k: the rest).

    Example:
        >>> offset, x = np.zeros((4, 2)), np.ones((4, 1, 1))
        >>> w, ended = fit_softmax(offset, x, np.array([0, 0, 0, 1]), C=1e9)
        >>> round(float(w[0, 0]), 4), ended
        (1.0986, True)
    """
    n, k, m = x.shape
    w = np.zeros((k, m))
    if k * m == 0:
        return w, True
    at = np.arange(n)
    hit = np.zeros((n, k))
    known = y < k
    hit[at[known], y[known]] = 1

    def loss(w: Float[ndarray, "k m"]) -> tuple[float, Float[ndarray, "n c"]]:
        log_q = log_shares(offset, x, w)
        return float(-log_q[at, y].sum() + (w**2).sum() / (2 * C)), log_q

    value, log_q = loss(w)
    for _ in range(STEPS):
        step, decrement = _newton(x, np.exp(log_q[:, :k]), hit, w, C)
        if decrement <= TOLERANCE * max(1.0, abs(value)):
            return w, True
        size = 1.0
        while size > 1e-6:  # a full step may go too far where q is far from a parabola
            lower, trial = loss(w - size * step)
            if lower <= value - 1e-4 * size * decrement:
                break
            size /= 2
        else:
            return w, False
        w, value, log_q = w - size * step, lower, trial
    return w, False


def _newton(
    x: ndarray, q: ndarray, hit: ndarray, w: Float[ndarray, "k m"], C: float
) -> tuple[Float[ndarray, "k m"], float]:
    """The step to the smallest point of the parabola, and twice how far below it lies."""
    k, m = w.shape
    gradient = (np.einsum("nk,nkm->km", q - hit, x) + w / C).ravel()
    second = np.eye(k * m) / C
    for i in range(k):
        for j in range(i, k):
            weight = q[:, i] * ((i == j) - q[:, j])
            block = (x[:, i] * weight[:, None]).T @ x[:, j]
            second[i * m : (i + 1) * m, j * m : (j + 1) * m] += block
            if i != j:
                second[j * m : (j + 1) * m, i * m : (i + 1) * m] += block.T
    step = np.linalg.solve(second, gradient)
    return step.reshape(k, m), float(gradient @ step)
