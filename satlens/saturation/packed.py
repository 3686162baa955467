"""int8 products of few rows with the whole vocabulary: the head packed once, as oneDNN multiplies it.

A product of few rows takes as long as reading the head, and torch's int8 product reads it two to three times
as slowly as oneDNN reads one that lies packed (measured: 1 row, 50,304 outputs of width 768: 6.7 and 2.5 ms).
The calls are private, so they may be missing or change: what they give is compared with the exact product
when a head is packed, on rows at the ends of the range of 8 bits, and they are used only if it is the same
and faster.
"""

import statistics
import time
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

FEW = 32
"""Rows of a product that is worth the packed head; above, torch's own is as fast."""
WIDEST = 1040
"""127 * 127 * 1040 < 2**24: products up to this width are whole numbers in float32."""
PACK: Callable[..., Tensor] | None = getattr(torch.ops.onednn, "qlinear_prepack", None)
MULTIPLY: Callable[..., Tensor] | None = getattr(torch.ops.onednn, "qlinear_pointwise", None)
"""oneDNN's quantised linear layer: private calls."""


class Packed:
    """``p . q_v`` of every output for few rows p, as whole numbers in float32.

    Args:
        q: the quantised head, on the CPU.
    """

    def __init__(self, q: Int[Tensor, "output d"]) -> None:
        assert PACK is not None
        self.weight = PACK(q, [1, q.shape[1]])
        self.scale = torch.ones(len(q))
        self.zero = torch.zeros(len(q), dtype=torch.int64)

    def __call__(self, p: Int[Tensor, "row d"]) -> Float[Tensor, "row output"]:
        """Rows of 8 bits, moved up by 128 as the call wants them."""
        assert MULTIPLY is not None
        moved = (p.to(torch.int16) + 128).to(torch.uint8)
        return MULTIPLY(
            moved, 1.0, 128, self.weight, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )  # fmt: skip


def packed(
    q: Int[Tensor, "output d"], product: Callable[[Tensor, Tensor, Tensor], None]
) -> Packed | None:
    """A head packed, if that gives the same products as ``product(p, q.T, out)`` in less time."""
    if q.device.type != "cpu" or q.shape[1] > WIDEST or PACK is None or MULTIPLY is None:
        return None
    try:
        made = Packed(q)
        ends = torch.cat([q[:2].sign() * 127, -q[-2:].sign() * 127, torch.full_like(q[:1], 127)])
        out = torch.empty(len(ends), len(q), dtype=torch.int32)
        product(ends.to(torch.int8), q.T, out)
        same = torch.equal(made(ends.to(torch.int8)), out.float())
    # Of another version, or another number of arguments; a processor without such products.
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    one = torch.empty(1, len(q), dtype=torch.int32)
    taken = [
        (_seconds(lambda: made(q[:1])), _seconds(lambda: product(q[:1], q.T, one)))
        for _ in range(5)
    ]
    mine, usual = (statistics.median(seconds) for seconds in zip(*taken, strict=True))
    return made if same and mine < usual else None


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
