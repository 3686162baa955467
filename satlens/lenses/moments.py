"""First and second moments of vectors that are seen together, in a stream, in float64.

For vectors a, b of n tokens, with means m_a, m_b,

    C_ab = sum_t (a_t - m_a) (b_t - m_b)'

A part of n' tokens with means m' and products C' is added by (Chan, Golub and LeVeque 1983)

    delta = m' - m,    C_ab += C'_ab + n n' / (n + n') delta_a delta_b',    m += n' / (n + n') delta

so nothing is lost to cancellation, whatever the means. Memory: one ``[d_a, d_b]`` matrix a pair that is
asked for, whatever the number of tokens.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError, NumericsError

Key = Hashable
"""The name of a vector: a layer, or a sub-module and its side."""


@dataclass(frozen=True, eq=False)
class PairMoments:
    """All that a least-squares map from x to y needs.

    Attributes:
        n: tokens seen. dtype: the narrowest type that the vectors came in.
        xx, yx: centred products ``C_xx`` and ``C_yx``.
    """

    n: int
    mean_x: Float[Tensor, " d"]
    mean_y: Float[Tensor, " e"]
    xx: Float[Tensor, "d d"]
    yx: Float[Tensor, "e d"]
    dtype: torch.dtype = torch.float64

    def of_difference(self) -> "PairMoments":
        """Those of x and y - x, of one width."""
        return replace(self, mean_y=self.mean_y - self.mean_x, yx=self.yx - self.xx)

    def pooled(self, other: "PairMoments") -> "PairMoments":
        """Those of the pairs of both, as if they were tokens of one stream."""
        n = self.n + other.n
        share, weight = other.n / n, self.n * other.n / n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        return PairMoments(
            n,
            self.mean_x + share * dx,
            self.mean_y + share * dy,
            self.xx + other.xx + weight * torch.outer(dx, dx),
            self.yx + other.yx + weight * torch.outer(dy, dx),
            _narrower(self.dtype, other.dtype),
        )


class Moments:
    """Moments of the pairs (x, y) that are named: ``C_xx`` and ``C_yx`` of each.

    Args:
        pairs: of names, x first.

    Example:
        >>> moments = Moments([("x", "y")])
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> moments.update({"x": x, "y": 3 * x})
        >>> moments.n, moments.pair("x", "y").yx.tolist()
        (3, [[6.0]])
    """

    def __init__(self, pairs: Iterable[tuple[Key, Key]]) -> None:
        self.pairs = tuple(dict.fromkeys(pairs))
        self.n = 0
        self.dtype = torch.float64
        self._mean: dict[Key, Tensor] = {}
        self._product: dict[tuple[Key, Key], Tensor] = {}
        # x of one name serves all its pairs, and is converted once.
        self._targets: dict[Key, list[Key]] = {}
        for x, y in self.pairs:
            self._targets.setdefault(x, [x]).append(y)

    @torch.no_grad()
    def update(self, values: Mapping[Key, Float[Tensor, "token d"]]) -> None:
        """Add tokens: row t of every vector belongs to the same token.

        Raises:
            NumericsError: NaN or infinite values; nothing is added then.
        """
        keys = list(dict.fromkeys(key for pair in self.pairs for key in pair))
        new = len(values[keys[0]])
        if not new:
            return
        mean = {key: _exact(values[key]).mean(0) for key in keys}
        bad = [str(key) for key, m in mean.items() if not bool(m.isfinite().all())]
        if bad:
            raise NumericsError(
                f"NaN or infinite values at {', '.join(bad[:5])}{', ..' if len(bad) > 5 else ''}: the "
                "weights or the inputs hold NaN, or overflow in this precision. A map fitted to them "
                "would mean nothing."
            )
        products = {}
        for source, targets in self._targets.items():
            x = _exact(values[source]) - mean[source]
            for target in targets:
                y = x if target == source else _exact(values[target]) - mean[target]
                products[target, source] = y.T @ x
        self._add(new, mean, products)
        for key in keys:
            self.dtype = _narrower(self.dtype, values[key].dtype)

    def merge(self, other: "Moments") -> None:
        """Add what another has seen, as if its tokens had come here.

        Raises:
            InputError: the other is of other pairs, or of other widths.
        """
        if set(other.pairs) != set(self.pairs):
            raise InputError(
                f"Moments of {len(self.pairs)} pairs and of {len(other.pairs)} others cannot be merged."
            )
        if other.n:
            self._add(other.n, other._mean, other._product)
            self.dtype = _narrower(self.dtype, other.dtype)

    def pair(self, x: Key, y: Key) -> PairMoments:
        """The moments of one of the pairs; shares its memory with this object until the next update."""
        return PairMoments(
            self.n, self._mean[x], self._mean[y], self._product[x, x], self._product[y, x],
            self.dtype,
        )  # fmt: skip

    def mean(self, key: Key) -> Float[Tensor, " d"]:
        """The mean of one vector."""
        return self._mean[key]

    def _add(
        self, new: int, mean: Mapping[Key, Tensor], products: Mapping[tuple[Key, Key], Tensor]
    ) -> None:
        if not self.n:
            self._mean = {key: m.clone() for key, m in mean.items()}
            self._product = {key: product.clone() for key, product in products.items()}
            self.n = new
            return
        n = self.n + new
        here = {key: m.to(self._mean[key].device) for key, m in mean.items()}
        delta = {key: m - self._mean[key] for key, m in here.items()}
        for (a, b), product in products.items():
            outer = torch.outer(delta[a], delta[b]) * (self.n * new / n)
            self._product[a, b] = self._product[a, b] + product.to(outer.device) + outer
        for key, step in delta.items():
            self._mean[key] = self._mean[key] + step * (new / n)
        self.n = n


def _exact(values: Tensor) -> Float[Tensor, "token d"]:
    """In float64, on the same device where it has that type."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _narrower(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    return a if torch.finfo(a).eps >= torch.finfo(b).eps else b
