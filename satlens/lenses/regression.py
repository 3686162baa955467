"""Least-squares maps from moments alone.

With S_xx = sum x x' and S_yx = sum y x' over n tokens (of x - m_x and y - m_y where there is an intercept),

    A = argmin sum |y - A x|^2 + lambda |A|^2 = S_yx (S_xx + lambda I)^-1,        lambda = ridge tr(S_xx) / d
    b = m_y - A m_x

    rank r                          A_r = U U' A,        U: top r eigenvectors of S_yx A'
    one subspace for layers i       A_i,r = U U' A_i,    U: top r eigenvectors of sum_i S_yx,i A_i'
    one map for layers i            A_r of the pairs (h_i, y) of all the layers, pooled

Each is the best of its kind: reduced-rank regression (Izenman 1975; with ridge, Mukherjee and Zhu 2011).
Without ridge, directions in which x does not vary (beyond the rounding of its type) get no weight, as in
`numpy.linalg.lstsq`: of all maps that fit equally well, the one with the smallest norm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError
from satlens.lenses.moments import PairMoments

# A direction (coordinates scaled to unit size) is taken for empty below this share of the size: rounding of
# the type, eps^2 / 12, with room for what a forward pass in float32 makes of it.
EMPTY = {
    torch.float64: 1e-24,
    torch.float32: 5e-11,
    torch.float16: 1e-6,
    torch.bfloat16: 6e-5,
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A map ``y = A x + b`` and what reducing its rank needs.

    Attributes:
        weight: A, float64. bias: b, or None.
        explained: ``S_yx A'``, symmetric: what the map explains of the squares of y.
        directions: number of directions in which x varies.
        mean_x, mean_y: the means that an intercept is made of; None without one.
    """

    weight: Float[Tensor, "e d"]
    bias: Float[Tensor, " e"] | None
    explained: Float[Tensor, "e e"]
    directions: int
    mean_x: Float[Tensor, " d"] | None = None
    mean_y: Float[Tensor, " e"] | None = None

    def within(self, basis: Float[Tensor, "e r"]) -> "LowRank":
        """The best map into the span of orthonormal columns: ``U U' A``, and its own intercept."""
        inner = basis.T @ self.weight
        if self.mean_x is None or self.mean_y is None:
            return LowRank(basis, inner, None)
        return LowRank(basis, inner, self.mean_y - basis @ (inner @ self.mean_x))


@dataclass(frozen=True, eq=False)
class LowRank:
    """``y = outer inner x + b``."""

    outer: Float[Tensor, "e r"]
    inner: Float[Tensor, "r d"]
    bias: Float[Tensor, " e"] | None


def least_squares(
    moments: PairMoments, ridge: float = 0.0, intercept: bool = False, what: str = "x to y"
) -> Fitted:
    """The least-squares map of one pair.

    Args:
        ridge: lambda as a share of the mean squared coordinate of x (see the module).
        intercept: fit b as well, which ridge does not shrink.
        what: the pair's name in messages.

    Raises:
        InputError: a ridge below 0, or fewer tokens than unknowns a row without ridge.

    Example:
        >>> from satlens.lenses.moments import Moments
        >>> x = torch.randn(50, 3, generator=torch.manual_seed(0))
        >>> moments = Moments([("x", "y")])
        >>> moments.update({"x": x, "y": x @ torch.tensor([[2.0], [0.0], [-1.0]])})
        >>> [round(a, 4) for a in least_squares(moments.pair("x", "y")).weight[0].tolist()]
        [2.0, 0.0, -1.0]
    """
    check_ridge(ridge)
    d = len(moments.mean_x)
    check_enough(moments.n, d, ridge, intercept, what)
    xx, yx = moments.xx, moments.yx
    if not intercept:
        xx = xx + moments.n * torch.outer(moments.mean_x, moments.mean_x)
        yx = yx + moments.n * torch.outer(moments.mean_y, moments.mean_x)
    if ridge:
        weight, directions = _shrunk(xx, yx, ridge), d
    else:
        weight, directions = _smallest(xx, yx, moments.dtype)
    explained = yx @ weight.T
    explained = (explained + explained.T) / 2
    if not intercept:
        return Fitted(weight, None, explained, directions)
    bias = moments.mean_y - weight @ moments.mean_x
    return Fitted(weight, bias, explained, directions, moments.mean_x, moments.mean_y)


def reduced_rank(fitted: Fitted, rank: int) -> LowRank:
    """The best map of rank ``rank`` (at most) in the least-squares sense.

    Raises:
        InputError: a rank outside 1 .. e.
    """
    check_rank(rank, len(fitted.weight))
    return fitted.within(_top(fitted.explained, rank))


def shared_subspace(fits: Sequence[Fitted], rank: int) -> list[LowRank]:
    """Maps of several sources to one target whose outputs lie in ONE subspace of dimension ``rank``.

    The subspace is the best one for the squared error summed over the sources; ``outer`` is the same tensor
    in all.

    Raises:
        InputError: a rank outside 1 .. e.
    """
    check_rank(rank, len(fits[0].weight))
    explained = torch.stack([one.explained for one in fits]).sum(0)
    basis = _top(explained, rank)
    return [one.within(basis) for one in fits]


def check_enough(n: int, d: int, ridge: float, intercept: bool, what: str) -> None:
    """Refuse to fit more unknowns than there are states.

    Raises:
        InputError: without ridge, fewer states than coordinates (and intercept); with both numbers.
    """
    unknowns = d + int(intercept)
    if not ridge and n < unknowns:
        raise InputError(
            f"Too few states for a map from {what}: n = {n}, and each row of the map has {unknowns} "
            f"unknowns (d = {d}{', and the intercept' if intercept else ''}). So few are fitted exactly, "
            "whatever they are. Give more text, or a ridge (ridge=0.001)."
        )


def check_ridge(ridge: float) -> None:
    """Refuse what is no penalty."""
    if isinstance(ridge, bool) or not 0 <= ridge < float("inf"):
        raise InputError(
            f"ridge must be a number of at least 0, got {ridge!r}: it is the penalty as a share of the "
            "mean squared coordinate (0.001 shrinks a little)."
        )


def check_rank(rank: int, width: int) -> None:
    """Refuse what is no rank of a map of this width."""
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= width:
        raise InputError(
            f"rank must be a whole number from 1 to the width of the states, {width}; got {rank!r}."
        )


def _top(symmetric: Float[Tensor, "e e"], rank: int) -> Float[Tensor, "e r"]:
    """Eigenvectors of the largest eigenvalues, largest first, each with its largest entry positive."""
    vectors = torch.linalg.eigh(symmetric).eigenvectors[:, -rank:].flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)


def _shrunk(xx: Tensor, yx: Tensor, ridge: float) -> Float[Tensor, "e d"]:
    """``S_yx (S_xx + lambda I)^-1`` by eigenvectors, which no ridge is too small for."""
    penalty = ridge * float(xx.trace()) / len(xx)
    values, vectors = torch.linalg.eigh(xx)
    values = values.clamp(min=0) + penalty
    if penalty == 0:  # x is 0 everywhere
        return torch.zeros_like(yx)
    return (yx @ vectors / values) @ vectors.T


def _smallest(xx: Tensor, yx: Tensor, dtype: torch.dtype) -> tuple[Float[Tensor, "e d"], int]:
    """``S_yx S_xx^+``, and the number of directions that are not empty.

    Coordinates are scaled to unit size before directions are judged: a state has coordinates a thousand
    times as large as others, and rounding is relative to each.
    """
    scale = xx.diagonal().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    values, vectors = torch.linalg.eigh(xx / torch.outer(scale, scale))
    empty = max(EMPTY[dtype], len(xx) * torch.finfo(values.dtype).eps * float(values[-1]))
    kept = values > empty
    vectors = vectors[:, kept]
    weight = ((yx / scale) @ vectors / values[kept]) @ vectors.T / scale
    if not bool(kept.all()):
        # Of the maps that agree on the span of x, the one with nothing outside of it.
        span = torch.linalg.qr(scale[:, None] * vectors).Q
        weight = (weight @ span) @ span.T
    return weight, int(kept.sum())
