"""The scan that hardly reads the vocabulary: known tokens first, then one certified pass.

1. The k known tokens and some runners-up at every layer at once, without the vocabulary. With ``p_i`` the
   known tokens before ``t_i`` and ``c_i`` the runners-up that are before it for certain,

       p_i + c_i > i     rank i is broken at this layer, for certain
       p_i + c_i < i     suspicious: a token not looked at may fill the place

   so each rank has a layer down to which it is surely worth a look: its guess.
2. A wave checks the layers above the guess, the guess included: the screen (`satlens.saturation.screen`)
   names every token that could be before a rank still in question, exact scores say which are, and with
   ``extra_i`` of them rank i is held if and only if ``p_i + extra_i = i``.
3. Where the guess was held after all, a second wave goes on down to the last certain break.

It gives what `satlens.saturation.scan` gives, on every input.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from satlens.saturation import gpu
from satlens.saturation.exact import exact_scores, fast_type
from satlens.saturation.rows import LinearRows, fast_dots, padded
from satlens.saturation.scan import check
from satlens.saturation.screen import PRODUCT_BYTES, ROWS, Screen, runs

RUNNERS = 11
"""Runners-up of the final layer that are scored beside the k known tokens. Measured at k = 5 on a synthetic
model of 12 layers: 0, 3, 11 and 27 of them leave 4.9, 3.8, 3.5 and 3.5 of 11 rows a token to check."""

TOKENS = (256, 512)
"""Tokens scanned together: as many as have `FEATURES` in all, within these. On 36 layers of width 512 twice
256 take 1.2 times the memory and 0.98 of the time, half as many 0.8 and 1.06; on 16 of width 128, half of 512
take 1.25 times the time."""
FEATURES = 2**22
_WHOLE = 2**24
"""Bytes of one product with the whole vocabulary; four times as many would save a quarter of its time."""
_PAIRS = 2**23
_HITS = 2**18


def certified_scan(
    rows: LinearRows,
    final: Int[Tensor, "token k"],
    screen: Screen,
    runners: Int[Tensor, "token c"] | None = None,
) -> Int[Tensor, "token k"]:
    """The saturation layers. ``runners`` are ids worth a look, the final ones among them or not."""
    check(rows, final)
    n_layers, k = rows.shape[0], final.shape[1]
    if n_layers == 1:
        return torch.zeros_like(final)
    if runners is None:
        runners = final[:, :0]
    pairs = gpu.at_once(_PAIRS, final.device) // ((n_layers - 1) * k * k)
    size = max(min(tokens_at_once(rows.x.shape, final.device), pairs), 1)
    parts = []
    for first in range(0, len(final), size):
        part = slice(first, first + size)
        block = _Block.of(rows, part, final[part], runners[part])
        parts.append(block.saturation(screen))
    return torch.cat(parts)


def tokens_at_once(features: torch.Size, device: torch.device) -> int:
    """How many tokens of features ``[layer, token, d]`` a scan takes at a time, so that all are alike."""
    layers, tokens, d = features
    most = min(max(FEATURES // max(layers * d, 1), TOKENS[0]), TOKENS[1])
    parts = -(-tokens // gpu.at_once(most, device, 2 * gpu.LARGER))
    return -(-tokens // max(parts, 1))


def final_ranking(
    rows: LinearRows, layer: int, k: int, screen: Screen, runners: int = RUNNERS
) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token c"]]:
    """The exact top k of one layer without a full set of scores, and the probable runners-up."""
    found, near = [], []
    every = torch.arange(rows.shape[1], device=rows.x.device)
    # A product with the whole vocabulary: few rows at a time.
    for part in every.split(_rows_of(screen, rows.shape[1], every.device)):
        x = rows.x[layer, part]
        query = screen.query(x)
        product = screen.product(query)
        largest = screen.largest(product)
        ids = screen.approximate(product, query, k + runners, largest)
        z = _dots(rows, x[:, None], ids[:, :k])[:, 0]
        # k outputs reach this, so nobody below it is among the top k.
        threshold = z.amin(1) - rows.slack(rows.error[layer, part], z)
        row, v = screen.hits(product, query.factors(threshold), largest=largest)
        scores, among = padded(fast_dots(rows.head, x, row, v), row, v, len(x))
        found.append(rows.rank(scores, layer, part, k, among))
        near.append(ids)
    return torch.cat(found), torch.cat(near)


def probable(rows: LinearRows, layer: int, n: int, screen: Screen) -> Int[Tensor, "token n"]:
    """The n outputs of probably highest score at one layer, without any promise."""
    found = []
    for x in rows.x[layer].split(_rows_of(screen, rows.shape[1], rows.x.device)):
        query = screen.query(x)
        found.append(screen.approximate(screen.product(query), query, n))
    return torch.cat(found)


def _rows_of(screen: Screen, rows: int, device: torch.device) -> int:
    """Rows of a product with the whole vocabulary, so that all are alike."""
    largest = gpu.at_once(_WHOLE // PRODUCT_BYTES[screen.kind], device, 32)
    products = -(-rows // max(largest // screen.padded, 16))
    return -(-rows // products)


def _dots(rows: LinearRows, x: Float[Tensor, "n layer d"], ids: Int[Tensor, "n some"]) -> Tensor:
    """Fast scores of some outputs of each token at every layer."""
    fast = fast_type(rows.head.weight.dtype)
    w = rows.head.rows(ids.flatten()).to(fast).reshape(*ids.shape, -1)
    z = torch.bmm(x.to(fast), w.transpose(1, 2))
    return z if rows.head.bias is None else z + rows.head.bias[ids].to(fast)[:, None]


def _last(mask: Bool[Tensor, "n layer k"]) -> Int[Tensor, "n k"]:
    """The highest layer at which it is so; -1 for none."""
    layer = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, layer[None, :, None], -1).amax(1)


@dataclass(frozen=True, eq=False)
class _Block:
    """Some tokens at the layers below the last one, and what the known tokens say."""

    rows: LinearRows
    x: Float[Tensor, "n layer d"]
    final: Int[Tensor, "n k"]
    z: Float[Tensor, "n layer k"]
    """Fast scores of the known tokens."""
    slack: Float[Tensor, "n layer"]
    before: Int[Tensor, "n layer k"]
    """Known tokens before each known token: p."""
    runners: Int[Tensor, "n layer k"]
    """Runners-up before it for certain: c."""

    @staticmethod
    def of(rows: LinearRows, part: slice, final: Tensor, runners: Tensor) -> "_Block":
        x = rows.x[:-1, part].transpose(0, 1)
        k = final.shape[1]
        both = _dots(rows, x, torch.cat([final, runners], 1))
        z, others = both[:, :, :k], both[:, :, k:]
        slack = rows.slack(rows.error[:-1, part].T, z)
        known = (runners[:, :, None] == final[:, None, :]).any(2)
        others = others.masked_fill(known[:, None], -torch.inf)
        margin = z + slack[:, :, None]
        certain = (others[:, :, None, :] > margin[:, :, :, None]).sum(3)
        return _Block(rows, x, final, z, slack, _before(rows, x, final, z, slack), certain)

    def saturation(self, screen: Screen) -> Int[Tensor, "n k"]:
        """The waves of the module."""
        n_layers, k = self.x.shape[1], self.final.shape[1]
        i = torch.arange(k, device=self.final.device)
        layer = torch.arange(n_layers, device=self.final.device)[None, :, None]
        seen = self.before + self.runners
        sure, guess = _last(seen > i), _last(seen != i)
        broken, high = sure, torch.full_like(sure, n_layers)
        low = torch.where(guess > sure, guess, sure + 1)
        while True:
            asked = (layer >= low[:, None]) & (layer < high[:, None]) & (layer > broken[:, None])
            if not asked.any():
                return broken + 1
            held = self._held(asked, screen)
            broken = torch.maximum(broken, _last(asked & ~held))
            high = torch.minimum(high, low)
            low = torch.where(broken >= low, low, sure + 1)

    def _held(self, asked: Bool[Tensor, "n layer k"], screen: Screen) -> Bool[Tensor, "n layer k"]:
        """Whether the ranks asked about hold their token: the certified pass over the vocabulary."""
        held = torch.zeros_like(asked)
        token, layer = asked.any(2).nonzero(as_tuple=True)
        size = gpu.at_once(ROWS, token.device)
        for part in torch.arange(len(token), device=token.device).split(size):
            where = (token[part], layer[part])
            asks = _Check(
                self.rows, self.x[where], self.final[where[0]], self.z[where], self.slack[where],
                self.before[where], asked[where],
            )  # fmt: skip
            held[where] = asks.held(screen)
        return held


def _before(rows: LinearRows, x: Tensor, final: Tensor, z: Tensor, slack: Tensor) -> Tensor:
    """How many known tokens are before each known token; exact where the fast scores are near."""
    gap = z[:, :, None, :] - z[:, :, :, None]  # [n, layer, i, j] = z_j - z_i
    before = gap > slack[:, :, None, None]
    near = ~(gap.abs() > slack[:, :, None, None])
    near.diagonal(dim1=2, dim2=3).fill_(False)
    n, layer, i = near.any(3).nonzero(as_tuple=True)
    if len(n):
        score = torch.zeros_like(z, dtype=torch.float64)
        score[n, layer, i] = exact_scores(rows.head, x[n, layer], final[n, i])
        n, layer, i, j = near.nonzero(as_tuple=True)
        mine, other = score[n, layer, i], score[n, layer, j]
        first = (other > mine) | ((other == mine) & (final[n, j] < final[n, i]))
        before[n, layer, i, j] = first
    return before.sum(3)


@dataclass(eq=False)
class _Check:
    """Rows (a token at a layer) that the whole vocabulary is asked about."""

    rows: LinearRows
    x: Float[Tensor, "row d"]
    final: Int[Tensor, "row k"]
    z: Float[Tensor, "row k"]
    slack: Float[Tensor, " row"]
    before: Int[Tensor, "row k"]
    asked: Bool[Tensor, "row k"]

    def held(self, screen: Screen) -> Bool[Tensor, "row k"]:
        """The ranks that hold their token, among those asked about."""
        count = self.before.clone()
        i = torch.arange(count.shape[1], device=count.device)
        open_rows = torch.arange(len(self.x), device=count.device)
        query = screen.query(self.x)
        factors = query.factors(self._threshold())
        if screen.fused:
            row, v = screen.reaching(query, factors)
            for some in torch.arange(len(row), device=row.device).split(
                gpu.at_once(_HITS, row.device)
            ):
                self._count(count, [(row[some], v[some])])
            return self.asked & (count == i)
        q, waiting, n_waiting = query, [], 0
        for start, stop in runs(screen.padded):
            row, v = screen.hits(screen.product(q, start, stop), factors, start)
            waiting.append((open_rows[row], v))
            n_waiting += len(v)
            last = stop == screen.padded
            if start and not last and n_waiting < _HITS:
                continue
            self._count(count, waiting)
            waiting, n_waiting = [], 0
            # Ranks already refuted need no further look, and rows without any other rank none at all.
            self.asked &= count <= i
            still = self.asked[open_rows].any(1)
            if not last and float(still.float().mean()) < 0.95:
                open_rows = open_rows[still]
                if len(open_rows) == 0:
                    break
                q = query[open_rows]
                factors = q.factors(self._threshold()[open_rows])
        return self.asked & (count == i)

    def _threshold(self) -> Float[Tensor, " row"]:
        """An output below this is behind every rank in question."""
        return torch.where(self.asked, self.z, torch.inf).amin(1) - self.slack

    def _count(self, count: Tensor, waiting: list[tuple[Tensor, Tensor]]) -> None:
        """Add the unknown tokens found that are before each rank."""
        row, v = (torch.cat(parts) for parts in zip(*waiting, strict=True))
        unknown = (self.final[row] != v[:, None]).all(1)
        row, v = row[unknown], v[unknown]
        if len(row) == 0:
            return
        gap = fast_dots(self.rows.head, self.x, row, v)[:, None] - self.z[row]
        before = gap > self.slack[row, None]
        near = ~(gap.abs() > self.slack[row, None]) & self.asked[row]
        hit, i = near.nonzero(as_tuple=True)
        if len(hit):
            head, some = self.rows.head, hit.unique_consecutive()
            theirs = torch.zeros(len(row), dtype=torch.float64, device=row.device)
            theirs[some] = exact_scores(head, self.x[row[some]], v[some])
            mine = exact_scores(head, self.x[row[hit]], self.final[row[hit], i])
            other = theirs[hit]
            before[hit, i] = (other > mine) | ((other == mine) & (v[hit] < self.final[row[hit], i]))
        count.index_add_(0, row, before.to(count.dtype))
