"""The rows that a scan asks about: the ranking of a token's state at a layer, decided for good.

`LinearRows` reads states through ``z = W x + b`` and decides by the exact scores of
`satlens.saturation.exact`; a fast sum settles what is further apart than its error, and only the rest is
summed exactly.

`ScoredRows` takes the scores of any function as they are. With ``p_i`` the number of known tokens before
``t_i`` (higher, or equal with a lower id) and ``m`` the highest unknown score, at rank ``i = 0 .. k - 1``

    z(t_i) > m       nobody else is before it: held if and only if p_i = i
    z(t_i) < m       somebody else is: broken if p_i >= i, else the row is ranked
    z(t_i) = m       broken if p_i > i, else the row is ranked
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from satlens.errors import NumericsError
from satlens.models.readout import Head
from satlens.saturation import gpu
from satlens.saturation.exact import Bounds, exact_scores, fast_type, norms_above
from satlens.saturation.ranking import top_ids
from satlens.saturation.screen import FloatScreen

Scores = Callable[[Tensor, int], Tensor]
"""``scores(resid [token, d], layer) -> [token, output]``: a lens, as the scans call it."""

MAX_ROWS = 512
"""At most ``MAX_ROWS * V`` scores exist at a time, whatever the corpus and the number of layers."""

BLOCK = 64
"""`ScoredRows` scores a state always among the same ``BLOCK`` states at the same place. The last bit of a
matrix product depends on the number of rows, and in odd sizes on the place among them (measured: 11
outputs of width 7); ties would then depend on who else is still asked about."""

MAX_SCREENED = 32
"""Up to this k the known tokens are compared pair by pair, ``k * k`` comparisons a row."""


@runtime_checkable
class Rows(Protocol):
    """States of N tokens at L layers, seen through a lens."""

    shape: tuple[int, int]
    """``(L, N)``."""

    def top(self, layer: int, k: int) -> Int[Tensor, "token k"]:
        """The ranking of every token at one layer."""
        ...

    def held(
        self,
        layer: int,
        rows: Int[Tensor, " n"],
        final: Int[Tensor, "n k"],
        asked: Bool[Tensor, "n k"],
    ) -> Bool[Tensor, "n k"]:
        """Whether each rank that is asked about holds its final token at this layer; rows ascend."""
        ...


class ScoredRows:
    """Through any function ``scores(resid, layer)``; equal scores: the lower id first."""

    def __init__(self, resid: Float[Tensor, "layer token d"], scores: Scores) -> None:
        self.resid, self.scores = resid, scores
        self.shape = (len(resid), resid.shape[1])

    def top(self, layer: int, k: int) -> Int[Tensor, "token k"]:  # noqa: D102
        every = torch.arange(self.shape[1], device=self.resid.device)
        return torch.cat([top_ids(z, k) for z, _ in self._blocks(layer, every)])

    def held(self, layer: int, rows: Tensor, final: Tensor, asked: Tensor) -> Tensor:  # noqa: D102
        held = []
        for z, part in self._blocks(layer, rows):
            held.append(_held(z, final[part], asked[part]))
        return torch.cat(held)

    def _blocks(self, layer: int, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores of the rows, block by block, and their places among ``rows``."""
        block = rows // BLOCK
        for index in block.unique_consecutive().tolist():
            states = self.resid[layer, index * BLOCK : (index + 1) * BLOCK]
            if len(states) < BLOCK:
                states = torch.cat([states, states[:1].expand(BLOCK - len(states), -1)])
            part = (block == index).nonzero().flatten()
            yield self.scores(states, layer)[rows[part] % BLOCK], part


class LinearRows:
    """Through a head: ``x [layer, token, d]`` are the features that it reads."""

    def __init__(self, x: Float[Tensor, "layer token d"], bounds: Bounds) -> None:
        self.x, self.bounds, self.head = x, bounds, bounds.head
        self.shape = (len(x), x.shape[1])
        self.norm = norms_above(x.to(fast_type(bounds.head.weight.dtype)))
        self.error = bounds.error(self.norm)
        bad = ~self.error.isfinite().all(0)
        if bad.any():
            raise NumericsError(
                f"NaN scores for {int(bad.sum())} of {len(bad)} positions. The weights or the inputs hold "
                "NaN or overflow in this precision; a ranking of them would mean nothing."
            )
        self._screen = FloatScreen(self.head)

    def top(self, layer: int, k: int) -> Int[Tensor, "token k"]:  # noqa: D102
        every = torch.arange(self.shape[1], device=self.x.device)
        blocks = every.split(gpu.at_once(MAX_ROWS, self.x.device, 4))
        return torch.cat([self.rank(self._scores(layer, rows), layer, rows, k) for rows in blocks])

    def held(self, layer: int, rows: Tensor, final: Tensor, asked: Tensor) -> Tensor:  # noqa: D102
        k = final.shape[1]
        blocks = rows.split(gpu.at_once(MAX_ROWS, self.x.device, 4))
        parts = [self.rank(self._scores(layer, part), layer, part, k) for part in blocks]
        return torch.cat(parts) == final

    def rank(
        self,
        z: Float[Tensor, "n some"],
        layer: int,
        rows: Int[Tensor, " n"],
        k: int,
        ids: Int[Tensor, "n some"] | None = None,
    ) -> Int[Tensor, "n k"]:
        """The exact top k of rows whose fast scores are at hand: of every output, or of ``ids``.

        Outputs left out must not be able to reach the top k; ids ascend, padding scores -inf.
        """
        values, place = z.topk(min(k + 1, z.shape[1]), dim=1)
        slack = self.slack(self.error[layer, rows], values[:, :k])
        top = place[:, :k] if ids is None else ids.gather(1, place[:, :k])
        near = (~(values[:, :-1] - values[:, 1:] > slack[:, None])).any(1).nonzero().flatten()
        rows_at_once = gpu.at_once(64, z.device)
        for some in near.split(rows_at_once) if len(near) else ():
            cut = values[some, k - 1] - slack[some]
            row, v = (z[some] >= cut[:, None]).nonzero(as_tuple=True)
            v = v if ids is None else ids[some[row], v]
            top[some] = rank_candidates(self.head, self.x[layer, rows[some]], row, v, k)
        return top

    def slack(
        self, error: Float[Tensor, "*row"], known: Float[Tensor, "*row some"]
    ) -> Float[Tensor, "*row"]:
        """A score further than this from a known one keeps its side when both are summed exactly.

        Two numbers round to one only if they are within a spacing of T at either of them, so the known
        ones' size is enough.
        """
        largest = known.abs().amax(-1) + error
        if not (largest < torch.finfo(self.head.weight.dtype).max / 2).all():
            raise NumericsError(
                f"The scores overflow {self.head.weight.dtype}: they reach {float(largest.max()):.3g}. Load "
                "the model in a type with more range."
            )
        return 2 * error + self.bounds.spacing(largest)

    def _scores(self, layer: int, rows: Int[Tensor, " n"]) -> Float[Tensor, "n output"]:
        """Fast scores of every output, valid until the next call."""
        query = self._screen.query(self.x[layer, rows])
        return self._screen.product(query)[:, : len(self.head)]


def fast_dots(
    head: Head, x: Float[Tensor, "n d"], row: Int[Tensor, " c"], v: Int[Tensor, " c"]
) -> Float[Tensor, " c"]:
    """``w_v . x + b_v`` of some outputs of some rows, in float32 (float64 for float64)."""
    fast = fast_type(head.weight.dtype)
    x = x.to(fast)
    if gpu.here(x.device) and not head.transposed:
        z, _ = gpu.dots(head.weight, x, row, v, fast)
    elif head.transposed:
        z = _from_columns(head, x, row, v)
    elif head.weight.dtype == fast and x.device.type == "cpu" and len(row) > 64:
        z = _sampled(head.weight, x, row, v)
    else:
        z = x.new_empty(len(row))
        step = max(gpu.at_once(2**21, x.device) // max(x.shape[1], 1), 1)
        for first in range(0, len(row), step):
            part = slice(first, first + step)
            z[part] = (head.rows(v[part]).to(fast) * x[row[part]]).sum(1)
    return z if head.bias is None else z.add_(head.bias[v].to(fast))


def _from_columns(head: Head, x: Tensor, row: Tensor, v: Tensor) -> Tensor:
    """W lies by columns, as TransformerLens keeps it: in order of v, so that memory is read in order."""
    z, order, x = x.new_empty(len(row)), v.argsort(), x.T.contiguous()
    for part in order.split(max(2**23 // max(len(x), 1), 1)):
        w = head.weight.T.index_select(1, v[part]).to(x.dtype)
        z[part] = w.mul_(x.index_select(1, row[part])).sum(0)
    return z


def _sampled(weight: Tensor, x: Tensor, row: Tensor, v: Tensor) -> Tensor:
    """The products of x and W^T at the places of a sparse matrix: 3 to 4 times as fast as gathering rows."""
    order = (row * len(weight) + v).argsort()
    rows = torch.zeros(len(x) + 1, dtype=torch.long)
    rows[1:] = torch.bincount(row, minlength=len(x)).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
        places = torch.sparse_csr_tensor(
            rows, v[order], x.new_zeros(len(v)), (len(x), len(weight)), check_invariants=False
        )
        found = torch.sparse.sampled_addmm(places, x, weight.T, beta=0).values()
    return torch.empty_like(found).index_copy_(0, order, found)


def padded(
    score: Float[Tensor, " c"], row: Int[Tensor, " c"], v: Int[Tensor, " c"], n: int
) -> tuple[Float[Tensor, "n most"], Int[Tensor, "n most"]]:
    """Candidates row by row: scores with -inf behind a row's last one, and ids."""
    count = torch.bincount(row, minlength=n)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    scores = score.new_full((n, int(count.max())), -torch.inf)
    ids = torch.zeros_like(scores, dtype=torch.long)
    scores[row, place], ids[row, place] = score, v
    return scores, ids


def rank_candidates(
    head: Head, x: Float[Tensor, "n d"], row: Int[Tensor, " c"], v: Int[Tensor, " c"], k: int
) -> Int[Tensor, "n k"]:
    """The exact top k of each row among its candidates (at least k each, by row, ids ascending)."""
    scores, ids = padded(exact_scores(head, x[row], v), row, v, len(x))
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return ids.gather(1, order)


def _held(
    z: Float[Tensor, "n output"], final: Int[Tensor, "n k"], asked: Bool[Tensor, "n k"]
) -> Bool[Tensor, "n k"]:
    """The rule of the module, in its letters."""
    k = final.shape[1]
    if k > MAX_SCREENED:
        return top_ids(z, k) == final
    known = z.gather(1, final)
    m = z.scatter(1, final, -torch.inf).amax(1, keepdim=True)
    if (known.isnan().any(1, keepdim=True) | m.isnan()).any():
        top_ids(z, k)  # raises, and says how many
    mine, other = known[:, :, None], known[:, None, :]
    before = (other > mine) | ((other == mine) & (final[:, None, :] < final[:, :, None]))
    p, i = before.sum(2), torch.arange(k, device=z.device)
    held = (known > m) & (p == i)
    unsure = asked & (((known < m) & (p < i)) | ((known == m) & (p <= i)))
    ranked = unsure.any(1).nonzero().flatten()
    if len(ranked):
        held[ranked] = top_ids(z[ranked], k) == final[ranked]
    return held
