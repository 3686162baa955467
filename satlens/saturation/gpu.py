"""What a GPU wants: few and large pieces of work, and products compared where they are made.

Two Triton kernels. `reaching` multiplies rows with the whole vocabulary and keeps one bit an output: whether
it can reach its row's threshold, by the limit of `satlens.saturation.quantised` for single outputs. The
products stay in float32 in registers, so the room for a product rounded to bfloat16 is not needed. `dots`
sums ``w_v . x`` of scattered pairs without gathering rows of W.

Triton comes with torch for CUDA. Where it is missing, `here` says so, and the screen works in pieces.
"""

# Triton reads the annotations of a kernel itself, and a kernel is no function to the checker.
# pyright: reportMissingParameterType=false, reportUntypedFunctionDecorator=false

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for the CPU, macOS, Windows
    triton = tl = cast(Any, None)

WORD = 32
"""Outputs whose bits make one number."""
TILE = {"ROWS": 256, "OUTPUTS": 128, "DEPTH": 64, "GROUP": 8}
_WARPS, _STAGES = 8, 3
_PAIRS, _NUMBERS = 32, 32


LARGER = 16


def at_once(n: int, device: torch.device, larger: int = LARGER) -> int:
    """How much of something to do at once where a CPU would do ``n``: a kernel's start costs a GPU as much
    as thousands of rows.
    """
    return n if device.type == "cpu" else larger * n


def here(device: torch.device) -> bool:
    """Whether the kernels run on this device."""
    return triton is not None and device.type == "cuda"


def reaching(
    p: Float[Tensor, "row d"],
    q: Float[Tensor, "padded d"],
    factors: Float[Tensor, "row 4"],
    own: Float[Tensor, "3 padded"],
    n_outputs: int,
) -> tuple[Int[Tensor, " hit"], Int[Tensor, " hit"]]:
    """Every (row, output) that can reach the row's threshold, by row, ids ascending.

        p . q_v >= f_0 - f_1 own_0v - f_2 own_1v - f_3 own_2v

    Args:
        p, q: rows and outputs in bfloat16, both by rows, d a multiple of 16.
        factors: the rows' part of the limits; a limit that is not finite says nothing, so all reach it.
        own: what each output takes off a limit: bias, eps, om.
    """
    if p.device.type == "cpu":  # Triton's interpreter cannot multiply bfloat16
        p, q = p.float(), q.float()
    words = torch.empty(len(p), -(-len(q) // WORD), dtype=torch.int32, device=p.device)

    def grid(tile: dict[str, Any]) -> tuple[int]:
        return (triton.cdiv(len(p), tile["ROWS"]) * triton.cdiv(len(q), tile["OUTPUTS"]),)

    _reaching[grid](  # pyright: ignore[reportIndexIssue]
        p, q, factors.contiguous(), own.contiguous(), words, len(p), len(q), n_outputs,
        words.shape[1], p.shape[1], STEPS=triton.cdiv(p.shape[1], TILE["DEPTH"]), **TILE,
        num_warps=_WARPS, num_stages=_STAGES,
    )  # fmt: skip
    row, word = words.nonzero(as_tuple=True)
    bits = words[row, word][:, None] >> torch.arange(WORD, dtype=torch.int32, device=p.device)
    hit, place = (bits & 1).nonzero(as_tuple=True)
    return row[hit], word[hit] * WORD + place


def dots(
    weight: Float[Tensor, "output d"],
    x: Float[Tensor, "n d"],
    row: Int[Tensor, " c"],
    v: Int[Tensor, " c"],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """``w_v . x`` and ``sum |w_vi x_i|`` of pairs, in float32 or float64; W and x by rows."""
    out, size = torch.empty(2, len(row), dtype=dtype, device=x.device)
    if len(row):
        x, d = x.contiguous(), x.shape[1]
        _dots[(triton.cdiv(len(row), _PAIRS),)](  # pyright: ignore[reportIndexIssue]
            weight, x, row, v, out, size, len(row), d, weight.stride(0), x.stride(0),
            STEPS=triton.cdiv(d, _NUMBERS), PAIRS=_PAIRS, NUMBERS=_NUMBERS,
            TYPE=tl.float64 if dtype == torch.float64 else tl.float32,
        )  # fmt: skip
    return out, size


if triton is not None:

    @triton.jit
    def _reaching(
        p, q, factors, own, words, n_rows, n_padded, n_outputs, n_words, width,
        STEPS: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr,
        GROUP: tl.constexpr,
    ):  # fmt: skip
        # Tiles in groups of GROUP row tiles, so that what lies in the cache is read again.
        tile = tl.program_id(0)
        down, across = tl.cdiv(n_rows, ROWS), tl.cdiv(n_padded, OUTPUTS)
        first = tile // (GROUP * across) * GROUP
        high = min(down - first, GROUP)
        rows = (first + tile % (GROUP * across) % high) * ROWS + tl.arange(0, ROWS)
        tile_v = tile % (GROUP * across) // high
        outputs = tile_v * OUTPUTS + tl.arange(0, OUTPUTS)
        row_here, output_here = rows < n_rows, outputs < n_outputs
        depth = tl.arange(0, DEPTH)
        p_at = p + rows.to(tl.int64)[:, None] * width + depth[None, :]
        q_at = q + outputs.to(tl.int64)[None, :] * width + depth[:, None]
        product = tl.zeros((ROWS, OUTPUTS), dtype=tl.float32)
        for done in range(0, STEPS * DEPTH, DEPTH):
            left = depth < width - done
            a = tl.load(p_at + done, mask=row_here[:, None] & left[None, :], other=0.0)
            b = tl.load(q_at + done, mask=(outputs < n_padded)[None, :] & left[:, None], other=0.0)
            product = tl.dot(a, b, product)
        f, o = factors + rows * 4, own + outputs
        limit = tl.load(f, mask=row_here, other=0.0)[:, None]
        for term in tl.static_range(3):
            mine = tl.load(f + term + 1, mask=row_here, other=0.0)[:, None]
            limit -= mine * tl.load(o + term * n_padded, mask=output_here, other=0.0)[None, :]
        limit = tl.where(tl.abs(limit) < float("inf"), limit, float("-inf"))
        reaches = (product >= limit) & output_here[None, :]
        bits = reaches.to(tl.int32) << (tl.arange(0, OUTPUTS) % 32)[None, :]
        word = tl.sum(tl.reshape(bits, (ROWS, OUTPUTS // 32, 32)), axis=2)
        words_here = tile_v * (OUTPUTS // 32) + tl.arange(0, OUTPUTS // 32)
        at = words + rows.to(tl.int64)[:, None] * n_words + words_here[None, :]
        tl.store(at, word, mask=row_here[:, None] & (words_here < n_words)[None, :])

    @triton.jit
    def _dots(
        weight, x, row, v, out, size, n, d, w_stride, x_stride,
        STEPS: tl.constexpr, PAIRS: tl.constexpr, NUMBERS: tl.constexpr, TYPE: tl.constexpr,
    ):  # fmt: skip
        pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
        here = pair < n
        w_at = weight + tl.load(v + pair, mask=here, other=0)[:, None] * w_stride
        x_at = x + tl.load(row + pair, mask=here, other=0)[:, None] * x_stride
        total = tl.zeros((PAIRS,), dtype=TYPE)
        sizes = tl.zeros((PAIRS,), dtype=TYPE)
        for done in range(0, STEPS * NUMBERS, NUMBERS):
            i = done + tl.arange(0, NUMBERS)[None, :]
            inside = here[:, None] & (i < d)
            products = tl.load(w_at + i, mask=inside, other=0.0).to(TYPE)
            products *= tl.load(x_at + i, mask=inside, other=0.0).to(TYPE)
            total += tl.sum(products, axis=1)
            sizes += tl.sum(tl.abs(products), axis=1)
        tl.store(out + pair, total, mask=here)
        tl.store(size + pair, sizes, mask=here)
