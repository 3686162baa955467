"""Scores of a head ``z = W x + b`` that depend on nothing but their row, and error bounds for fast ones.

The score of output v is the exact sum, rounded to float64 and then to the head's own type T:

    z_v = T(f64(w_v . x + b_v)),        before(v, t)  <=>  z_v > z_t, or z_v = z_t and v < t

so two outputs tie exactly where the model's own type cannot tell them apart, whatever the kernel, the batch
or the machine. Fast sums only have to say where they cannot be trusted. For any order of summation
of n products, with unit roundoff u (Higham 2002, section 3.1),

    |fl(w . x + b) - (w . x + b)| <= gamma_{d+1} (|w| |x| + |b|),        gamma_n = n u / (1 - n u)

and two exact scores further apart than one spacing of T keep their order when rounded.
"""

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.models.readout import Head
from satlens.saturation import gpu

_CHUNK = 2**21
"""Numbers of one block of float64 products."""


def fast_type(dtype: torch.dtype) -> torch.dtype:
    """The type fast sums are taken in: float32 for every type it holds exactly."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def gamma(n: int, dtype: torch.dtype) -> float:
    """``n u / (1 - n u)``: the relative error of a sum of n products in any order."""
    nu = n * torch.finfo(dtype).eps / 2
    return nu / (1 - nu)


@contextmanager
def full_precision() -> Generator[None, None, None]:
    """Matrix products in the precision of their type: no TF32, no bfloat16 behind float32, no autocast."""
    precision = torch.get_float32_matmul_precision()
    matmul = torch.backends.cuda.matmul
    reduced = matmul.allow_bf16_reduced_precision_reduction
    try:
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
        matmul.allow_bf16_reduced_precision_reduction = False
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction = reduced
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)


@dataclass(frozen=True, eq=False)
class Bounds:
    """How far a fast score of a head can be from the exact one, and the spacing of T there."""

    head: Head
    norm: Float[Tensor, " output"]
    """|w_v|, rounded up."""
    bias: Float[Tensor, " output"]
    """|b_v|."""

    @staticmethod
    def of(head: Head) -> "Bounds":
        """The norms of W's rows, a block of rows at a time."""
        fast = fast_type(head.weight.dtype)
        up = 1 + gamma(2 * head.weight.shape[1] + 4, fast)
        blocks = head.weight.split(8192)
        norm = torch.cat([row_norms(block.to(fast)) for block in blocks]) * up
        bias = torch.zeros_like(norm) if head.bias is None else head.bias.to(fast).abs()
        return Bounds(head, norm, bias)

    def error(
        self, x_norm: Float[Tensor, "*row"], ids: Int[Tensor, "*row"] | None = None
    ) -> Float[Tensor, "*row"]:
        """The largest error of a fast score of these outputs, or of any output."""
        norm, bias = self.largest if ids is None else (self.norm[ids], self.bias[ids])
        fast = norm.dtype
        return gamma(self.head.weight.shape[1] + 2, fast) * (norm * x_norm + bias)

    @cached_property
    def largest(self) -> tuple[Tensor, Tensor]:
        """The largest norm and bias."""
        return self.norm.amax(), self.bias.amax()

    def spacing(self, scores: Float[Tensor, "*row"]) -> Float[Tensor, "*row"]:
        """More than one spacing of T at scores of this size."""
        info = torch.finfo(self.head.weight.dtype)
        return 1.01 * info.eps * scores.abs() + info.smallest_normal * info.eps


def row_norms(x: Float[Tensor, "*row d"]) -> Float[Tensor, "*row"]:
    """Euclidean norms along the last axis."""
    return torch.linalg.vector_norm(x, dim=-1)


def norms_above(x: Float[Tensor, "*row d"]) -> Float[Tensor, "*row"]:
    """Norms that are not below the exact ones."""
    return row_norms(x) * (1 + gamma(2 * x.shape[-1] + 4, x.dtype))


def exact_scores(
    head: Head, x: Float[Tensor, "n d"], ids: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """``z_v`` of output ``ids[i]`` at features ``x[i]``, as float64 numbers of the head's type.

    float64 sums, and exact ones for the few whose float64 error could change the rounding.
    """
    out = x.new_empty(len(ids), dtype=torch.float64)
    step = max(gpu.at_once(_CHUNK, x.device) // max(x.shape[1], 1), 1)
    for first in range(0, len(ids), step):
        rows = slice(first, first + step)
        out[rows] = _exact_block(head, x[rows], ids[rows])
    return out


def _exact_block(head: Head, x: Tensor, ids: Tensor) -> Tensor:
    dtype = head.weight.dtype
    z, size = _float64_sums(head, x, ids)
    if head.bias is not None:
        bias = head.bias[ids].double()
        z, size = z + bias, size + bias.abs()
    error = gamma(x.shape[1] + 4, torch.float64) * size
    low, high = (z - error).to(dtype), (z + error).to(dtype)
    score = high.double()
    for i in (low != high).nonzero().flatten().tolist():
        score[i] = torch.tensor(_sum_exactly(head, x[i], ids[i]), dtype=torch.float64).to(dtype)
    return score


def _float64_sums(head: Head, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """``w_v . x`` and ``sum |w_vi x_i|``, a pair a row."""
    if gpu.here(x.device) and not head.transposed:
        every = torch.arange(len(ids), device=x.device)
        return gpu.dots(head.weight, x, every, ids, torch.float64)
    products = head.rows(ids).double() * x.double()
    return products.sum(-1), products.abs().sum(-1)


def _sum_exactly(head: Head, x: Tensor, v: Tensor) -> float:
    """The exact ``w_v . x + b_v``, rounded once to float64."""
    w, values = head.rows(v[None])[0].double().tolist(), x.double().tolist()
    b = 0.0 if head.bias is None else float(head.bias[v])
    if head.weight.dtype != torch.float64:  # such products are exact in float64
        return math.fsum([*map(float.__mul__, w, values), b])
    return float(
        sum((Fraction(p) * Fraction(q) for p, q in zip(w, values, strict=True)), Fraction(b))
    )
