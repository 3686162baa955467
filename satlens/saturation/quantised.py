"""A low-precision pass over the vocabulary that misses nobody: the quantised head, and its error bound.

With mu the mean row of W (as stored), R a fixed rotation (as stored, R R^T = I up to delta) and

    a_v = (w_v - mu) R ~ s_b q_v        b: block of 64 outputs with one scale, q_v of 8 bits
    c   = x R          ~ s_x p          one scale a row

the exact score of output v is, since (w_v - mu) . x = a_v . c up to delta |w_v - mu| |x|,

    z_v = mu . x + b_v + s_x s_b (p . q_v)  +  (a_v - s_b q_v) . c  +  s_b q_v . (c - s_x p)
       <= mu . x + b_v + s_x s_b (p . q_v)  +  eps_v |c|            +  om_v dc

with eps_v >= |a_v - s_b q_v|, om_v >= |s_b q_v| and dc >= |c - s_x p|, each with the rounding of its own
computation. So an output can reach ``threshold`` only if

    p . q_v >= (threshold - mu . x - b_v - eps_v |c| - om_v dc) / (s_x s_b).

The largest b, eps and om of a block give one number for 64 outputs, a product of four columns: a
block whose largest p . q is below it is done. In bfloat16 there is no rotation and no scale (s = 1, R = I);
the sum of products and its rounding to bfloat16 add to the bound. docs/detection.md derives every term.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.models.readout import Head
from satlens.saturation import gpu
from satlens.saturation.exact import gamma, norms_above
from satlens.saturation.packed import FEW, Packed, packed
from satlens.saturation.rotation import Rotation
from satlens.saturation.screen import BLOCK, Buffer

SLACK = 2e-6
"""Relative, on every term of a limit: more than the rounding of the limit's own arithmetic (at most ten
float32 operations, 6e-7) and of int32 as float32."""
SMALLEST = 2.0**-40
"""Rows below this are quantised to 0 (their whole size counted as error), so that limits stay finite."""
INT_MM = getattr(torch, "_int_mm", None)
"""torch's int8 product: a private call, so it may be missing."""
KINDS = ("int8", "bfloat16")
TENSOR_CORES = 4
"""Times the error of a sum that rounds (Fasi, Higham, Mikaitis, Pranesh 2021, on how tensor cores add)."""


@dataclass(frozen=True, eq=False)
class QuantisedQuery:
    """Feature rows, quantised, with what their bound needs."""

    p: Tensor
    scale: Float[Tensor, " row"]
    norm: Float[Tensor, " row"]
    """|c|, rounded up."""
    error: Float[Tensor, " row"]
    """dc."""
    mean: Float[Tensor, " row"]
    """mu . x, float64."""

    def __getitem__(self, rows: Tensor | slice) -> "QuantisedQuery":
        return QuantisedQuery(
            self.p[rows], self.scale[rows], self.norm[rows], self.error[rows], self.mean[rows]
        )

    def factors(self, threshold: Float[Tensor, " row"]) -> Float[Tensor, "row 4"]:
        """The row's part of the limits, for ``terms`` of the outputs."""
        t = threshold.double() - self.mean
        t = t - SLACK * (threshold.double().abs() + self.mean.abs())
        one = torch.ones_like(self.scale)
        return torch.stack([t.float(), one, self.norm, self.error], 1) / self.scale[:, None]


class QuantisedScreen:
    """The quantised head: built once a model, used for every row.

    Args:
        head: W and b, of any floating type.
        kind: "int8" or "bfloat16", whatever the machine multiplies faster.
        seed: of the rotation.
    """

    def __init__(self, head: Head, kind: str = "int8", seed: int = 0) -> None:
        self.kind, self.n_outputs = kind, len(head)
        weight, self.d = head.weight, head.weight.shape[1]
        device = weight.device
        blocks = -(-self.n_outputs // BLOCK)
        self.padded = padded = blocks * BLOCK
        self.mu = torch.stack([part.float().sum(0) for part in weight.split(8192)]).sum(0)
        self.mu /= self.n_outputs
        self.rotation = Rotation(self.d, seed, device) if kind == "int8" else None
        self.rho = 0.0 if self.rotation is None else self.rotation.rho
        width = -(-self.d // 16) * 16
        self.q = torch.zeros(padded, width, dtype=self._type, device=device)
        self.scale = torch.ones(blocks, device=device)
        self.eps, self.om = torch.zeros(2, padded, device=device)
        self.bias = torch.zeros(padded, device=device)
        if head.bias is not None:
            self.bias[: self.n_outputs] = head.bias.float()
        for first in range(0, padded, 8192):
            self._quantise(weight[first : first + 8192], first)
        self.finish()
        self.fused = kind == "bfloat16" and gpu.here(device)
        self._buffer = Buffer()
        self._packed: list[Packed | None] = []

    def finish(self) -> None:
        """What each output, and each block at its worst, takes off a limit: bias, eps, om."""
        self.own = _up(torch.stack([self.bias, self.eps, self.om], 1))
        worst = self.own.view(-1, BLOCK, 3).amax(1).T
        self.largest_bias = self.bias.view(-1, BLOCK).amax(1)
        self.terms = torch.cat([torch.ones_like(self.scale)[None], -worst]) / self.scale

    @property
    def _sums(self) -> float:
        """The relative error of a sum of products of bfloat16. Tensor cores cut sums off where others round
        them, and keep two more bits among the products of a step: less than three times the error.
        """
        n = self.d + 4
        return gamma(n if self.q.device.type == "cpu" else TENSOR_CORES * n, torch.float32)

    @property
    def _type(self) -> torch.dtype:
        return torch.int8 if self.kind == "int8" else torch.bfloat16

    def _quantise(self, weight: Float[Tensor, "some d"], first: int) -> None:
        """q, scales and error norms of one run of outputs."""
        n, d = weight.shape
        narrowed, weight = weight.dtype == torch.float64, weight.float()
        centred = weight - self.mu
        if self.rotation is None:
            turned, q = centred, centred.bfloat16()
            used = q.float()
        else:
            turned = self.rotation(centred)
            inside = torch.nn.functional.pad(turned, (0, 0, 0, -n % BLOCK)).view(-1, BLOCK, d)
            scale = inside.abs().amax((1, 2)).clamp_min(SMALLEST) / 127
            self.scale[first // BLOCK :][: len(scale)] = scale
            s = scale.repeat_interleave(BLOCK)[:n, None]
            q = (turned / s).round().clamp(-127, 127)
            used = q * s
        rows = slice(first, first + n)
        self.q[rows, :d] = q.to(self._type)
        off = turned - used
        u = torch.finfo(torch.float32).eps
        # Centring rounds by u |w - mu|, q s by u |q s|, the difference by u of itself.
        self.eps[rows] = norms_above(off) + u * (norms_above(used) + norms_above(off))
        self.eps[rows] += u * norms_above(centred)
        if self.rotation is not None:
            self.eps[rows] += self.rho * norms_above(centred)
        if narrowed:  # float64 weights and rows, read as float32: u |w| |x| and u |w - mu| |x|
            self.eps[rows] += u * (norms_above(weight) + norms_above(centred))
        self.om[rows] = norms_above(used) * (1 + u)

    def query(self, x: Float[Tensor, "row d"]) -> QuantisedQuery:
        """Feature rows as the screen multiplies them."""
        mean = x.double() @ self.mu.double()
        x = x.float()
        norm = norms_above(x) * (1 + self.rho)
        p = torch.zeros(len(x), self.q.shape[1], dtype=self._type, device=x.device)
        if self.rotation is None:
            p[:, : self.d] = x
            used = p[:, : self.d].float()
            error = norms_above(x - used) + self._sums * norms_above(used)
            scale = torch.ones_like(norm)
        else:
            turned = self.rotation(x)
            scale = turned.abs().amax(1).clamp_min(SMALLEST) / 127
            q = (turned / scale[:, None]).round().clamp(-127, 127)
            p[:, : self.d] = q
            used = q * scale[:, None]
            u = torch.finfo(torch.float32).eps
            error = norms_above(turned - used) * (1 + u) + u * norms_above(used) + self.rho * norm
        return QuantisedQuery(p, scale, norm, error, mean)

    def product(self, query: QuantisedQuery, first: int = 0, last: int | None = None) -> Tensor:
        """``p . q_v`` of a run of outputs, in a buffer that the next product overwrites.

        Of few rows and all outputs through the packed head, where it is faster (`satlens.saturation.packed`).
        """
        whole = first == 0 and last in (None, self.padded)
        if self.kind == "int8" and whole and len(query.p) <= FEW:
            if not self._packed:
                self._packed.append(packed(self.q, int_product))
            if self._packed[0] is not None:
                return self._packed[0](query.p)
        q = self.q[first:last]
        if self.kind == "int8":
            out = self._buffer.of(len(query.p), len(q), torch.int32, q.device)
            int_product(query.p, q.T, out)
            return out
        rows = len(query.p) if q.device.type != "cpu" else few_sizes(len(query.p))
        p = torch.nn.functional.pad(query.p, (0, 0, 0, rows - len(query.p)))
        out = self._buffer.of(rows, len(q), torch.bfloat16, q.device)
        torch.mm(p, q.T, out=out)
        return out[: len(query.p)]

    def hits(
        self,
        product: Tensor,
        factors: Float[Tensor, "row 4"],
        first: int = 0,
        largest: Tensor | None = None,
    ) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
        """Every (row, output) of a product that can reach the row's threshold, by row, ids ascending."""
        blocks = product.view(len(product), -1, BLOCK)
        run = slice(first // BLOCK, first // BLOCK + blocks.shape[1])
        limit = self._lowered(factors @ self.terms[:, run])
        largest = block_max(blocks) if largest is None else largest
        row, block = (largest.float() >= limit).nonzero(as_tuple=True)
        inside = blocks[row, block]
        hit, place = (inside.float() >= limit[row, block][:, None]).nonzero(as_tuple=True)
        row, block = row[hit], block[hit]
        v = first + block * BLOCK + place
        f = factors[row]
        own = f[:, 0] - (f[:, 1:] * self.own.index_select(0, v)).sum(1)
        own = self._lowered(own / self.scale[run][block])
        possible = (inside[hit, place] >= own) & (v < self.n_outputs)
        row, v = row[possible], v[possible]
        return row, v

    def _lowered(self, limit: Tensor) -> Tensor:
        """Room for the rounding of a bfloat16 product; SLACK in every term covers the rest.

        A limit that overflowed says nothing, so everything reaches it.
        """
        limit = limit.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        return limit if self.kind == "int8" else limit - limit.abs() * 1.01 * 2.0**-8

    def reaching(
        self, query: QuantisedQuery, factors: Float[Tensor, "row 4"]
    ) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
        """What `hits` finds in the whole vocabulary, without a product (bfloat16 only)."""
        return gpu.reaching(query.p, self.q, factors, self.own.T, self.n_outputs)

    def largest(self, product: Tensor) -> Tensor:
        """The largest number of each block, or something above it."""
        return block_max(product.view(len(product), -1, BLOCK))

    def approximate(
        self, product: Tensor, query: QuantisedQuery, n: int, largest: Tensor | None = None
    ) -> Int[Tensor, "row n"]:
        """The n outputs of probably highest score, without any promise."""
        blocks = product.view(len(product), -1, BLOCK)
        largest = block_max(blocks) if largest is None else largest
        best = largest.float() * self.scale * query.scale[:, None] + self.largest_bias
        chosen = best.topk(min(n, best.shape[1]), dim=1).indices
        inside = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).float()
        inside *= (self.scale[chosen] * query.scale[:, None])[:, :, None]
        ids = chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=chosen.device)
        score = (inside + self.bias[ids]).masked_fill(ids >= self.n_outputs, -torch.inf).flatten(1)
        return ids.flatten(1).gather(1, score.topk(min(n, self.n_outputs), dim=1).indices)


def block_max(blocks: Tensor) -> Tensor:
    """The largest number of each block, or something above it."""
    if blocks.dtype != torch.bfloat16:
        return blocks.amax(-1)
    # As int16 the order of bfloat16 is kept among positive numbers, and five times faster; a block
    # without any is taken for its upper bound 0.
    return blocks.view(torch.int16).amax(-1).clamp_min(0).view(torch.bfloat16)


def few_sizes(rows: int) -> int:
    """So many rows or a few more. On the CPU bfloat16 products are compiled for every new number of rows, and
    kept (measured: 6 ms and 0.75 MB each where there are tiles); a scan would ask for hundreds of them.
    """
    step = 1 if rows <= 16 else 16 if rows <= 256 else 64
    return -(-rows // step) * step


def int_product(p: Tensor, q: Tensor, out: Tensor) -> None:
    """int8 product into int32; through float64-exact integers where torch has no such call."""
    if INT_MM is not None:
        INT_MM(p, q, out=out)
    else:  # sums of products of 8 bits are exact in float64
        out.copy_(p.double() @ q.double())


def _up(values: Tensor) -> Tensor:
    """A little above, on either side of zero."""
    return values + SLACK * values.abs()
