"""Which scan a job uses, chosen once, and what is built once a model.

    plain       rank every layer: the reference
    backward    known tokens first, the vocabulary only for rows in question: any lens, any machine
    certified   the same, the vocabulary in low precision, with an error bound: where scores = W x + b

All three give the same saturation layers. ``auto`` takes ``certified`` where the machine multiplies int8 or
bfloat16 clearly faster than float32 (a few products of a few milliseconds say so), else ``backward``.
"""

import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from satlens.errors import InputError
from satlens.lenses.base import Lens, LinearLens
from satlens.models.readout import Head
from satlens.saturation import gpu
from satlens.saturation.certified import RUNNERS, certified_scan, final_ranking, probable
from satlens.saturation.exact import Bounds, fast_type, full_precision
from satlens.saturation.packed import FEW, packed
from satlens.saturation.quantised import INT_MM, KINDS, QuantisedScreen, int_product
from satlens.saturation.rows import MAX_SCREENED, LinearRows, Rows, ScoredRows, Scores
from satlens.saturation.scan import backward_scan, plain_scan
from satlens.saturation.screen import CHUNK, FloatScreen, Screen

METHODS = ("auto", "plain", "backward", "certified")
FASTER = 0.7
"""A low-precision product must take less than this share of a float32 one to be worth its bound."""
EXACT = ("cpu", "cuda", "xpu")
"""Devices with float64, which exact sums need; elsewhere scores are taken as they are."""
TIMED = 512
"""Rows of the products that say which precision is the fastest: about as many as a scan multiplies. (With
matrix units for both, int8 is as fast as bfloat16 up to 256 rows; beyond, it takes three times as long.)"""
WORTH = 2**17
"""Below this many numbers in the head, the backward scan is as fast as any."""


class Scan:
    """Saturation layers through one lens: make one for a job, call it batch by batch.

    Args:
        lens: what reads the states: a lens, or a function ``scores(resid, layer)``.
        method: one of `METHODS`.
        few: it is asked about a row or a few at a time, where another precision may be the fastest.

    Raises:
        InputError: an unknown method, or "certified" with a lens that does not end in a linear map.
    """

    def __init__(self, lens: Lens | Scores, method: str = "auto", few: bool = False) -> None:
        if method not in METHODS:
            raise InputError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
        self.lens = lens = cast(Lens, lens if isinstance(lens, Lens) else _Function(lens))
        head = lens.head() if isinstance(lens, LinearLens) else None
        if head is not None and head.weight.device.type not in EXACT:
            head = None
        if head is None and method == "certified":
            raise InputError(
                f'method="certified" needs a lens that ends in a linear map, scores = W x + b; the lens '
                f"{lens.name!r} does not tell one (its model was given a readout of its own, its "
                "unembedding is hooked or of another kind, or it lies on a device without float64). Use "
                'method="backward" or "auto": the events are the same.'
            )
        self.static = None if head is None else _static(head)
        self.method, self.kind = "backward" if method == "auto" else method, "float32"
        if self.static is not None and method in ("auto", "certified"):
            self.kind = self.static.kind(always=method == "certified", few=few)
            self.method = "backward" if self.kind == "float32" else "certified"

    @property
    def linear(self) -> bool:
        """Whether rankings are exact sums, and need no logits."""
        return self.static is not None

    def rows(self, resid: Float[Tensor, "layer token d"]) -> Rows:
        """The states as the scans ask about them."""
        if self.static is None:
            return ScoredRows(resid, self.lens.scores)
        lens = cast(LinearLens, self.lens)
        x = torch.stack([lens.features(h, layer) for layer, h in enumerate(resid)])
        return LinearRows(x, self.static.bounds)

    def ranking(
        self, rows: LinearRows, k: int
    ) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token c"] | None]:
        """The exact top k of the last layer, and runners-up if the scan has a use for them."""
        last = rows.shape[0] - 1
        with full_precision():
            if self._screened(k):
                return final_ranking(rows, last, k, self._screen)
            return rows.top(last, k), None

    def layers(
        self,
        rows: Rows,
        final: Int[Tensor, "token k"],
        runners: Int[Tensor, "token c"] | None = None,
    ) -> Int[Tensor, "token k"]:
        """The saturation layers towards this final ranking."""
        with full_precision():
            if self.method == "plain":
                return plain_scan(rows, final)[0]
            if not isinstance(rows, LinearRows) or not self._screened(final.shape[1]):
                return backward_scan(rows, final)
            screen = self._screen
            return certified_scan(rows, final, screen, runners)

    def runners(self, rows: Rows, k: int) -> Int[Tensor, "token c"] | None:
        """Ids that are probably near the top of the last layer, for `layers`; None if of no use."""
        if not isinstance(rows, LinearRows) or not self._screened(k):
            return None
        with full_precision():
            return probable(rows, rows.shape[0] - 1, k + RUNNERS, self._screen)

    def trajectory(
        self, rows: Rows, final: Int[Tensor, "token k"]
    ) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token layer k"]]:
        """The saturation layers, and the top k of every layer."""
        with full_precision():
            return plain_scan(rows, final)

    @property
    def _screen(self) -> Screen:
        """The head as the certified scan multiplies it, where the lens ends in one."""
        return cast(_Static, self.static).screen(self.kind)

    def _screened(self, k: int) -> bool:
        return self.method != "plain" and k <= MAX_SCREENED


@dataclass(frozen=True)
class _Function:
    """A bare function as a lens."""

    scores: Scores
    name: str = "function"


@dataclass(eq=False)
class _Static:
    """What a head needs once: norms, screens, and what the machine does fast."""

    head: Head
    version: tuple[Any, ...]
    marks: Float[Tensor, " output"]
    bounds: Bounds
    screens: dict[str, Screen] = field(default_factory=dict)
    fastest: dict[str, float] = field(default_factory=dict)
    fastest_few: dict[str, float] = field(default_factory=dict)

    def screen(self, kind: str) -> Screen:
        """The quantised head, built at first use."""
        if kind not in self.screens:
            float32 = kind == "float32"
            self.screens[kind] = (
                FloatScreen(self.head) if float32 else QuantisedScreen(self.head, kind)
            )
        return self.screens[kind]

    def kind(self, always: bool, few: bool = False) -> str:
        """The precision this machine multiplies fastest; float32 if a lower one is not worth it."""
        if not always and self.head.weight.numel() < WORTH:
            return "float32"
        seconds = self.fastest_few if few else self.fastest
        if not seconds:
            seconds.update(calibrate(self.head, 1) if few else calibrate(self.head))
        best = min(KINDS, key=lambda kind: seconds[kind])
        worth = seconds[best] < FASTER * seconds["float32"]
        return best if worth or always else "float32"


_STATICS: "weakref.WeakKeyDictionary[nn.Module, _Static]" = weakref.WeakKeyDictionary()


def _static(head: Head) -> _Static:
    """Kept as long as the head's module lives, and made again when its weights have changed."""
    bias = head.bias if head.bias is not None else head.weight.new_zeros(0)
    version = (
        head.weight.shape, head.weight.dtype, head.weight.device, len(bias), head.weight.data_ptr(),
        head.weight._version,
    )  # fmt: skip
    kept = None if head.owner is None else _STATICS.get(head.owner)
    with full_precision():
        marks = torch.cat([_marks(head.weight), bias.double()])
    if kept is None or kept.version != version or not torch.equal(kept.marks, marks):
        owner, head = (
            head.owner,
            replace(head, owner=None),
        )  # else what is kept would keep its key alive
        if head.transposed and gpu.here(head.weight.device):  # the kernels read whole rows
            head = replace(head, weight=head.weight.contiguous())
        with full_precision():
            kept = _Static(head, version, marks, Bounds.of(head))
        if owner is not None:
            _STATICS[owner] = kept
    return kept


def _marks(weight: Float[Tensor, "output d"]) -> Float[Tensor, " output"]:
    """One number a row, not blind to order: an edit through ``.data`` leaves no other trace."""
    ramp = torch.linspace(1, 2, weight.shape[1], dtype=torch.float64, device=weight.device)
    fast = fast_type(weight.dtype)
    return torch.cat([part.to(fast) @ ramp.to(fast) for part in weight.split(8192)]).double()


def calibrate(head: Head, rows: int | None = None) -> dict[str, float]:
    """Seconds of one product of each precision in the head's width: medians of some taken by turns.

    Not the fastest of them: where matrix units are shared with others the fastest says little of the next.
    """
    n, d, device = min(len(head), CHUNK), head.weight.shape[1], head.weight.device
    if rows is None:
        rows = TIMED if device.type == "cpu" else gpu.at_once(128, device)
    x = torch.ones(rows, d, device=device)
    w = head.weight[:n].float()
    products: dict[str, Callable[[], Any]] = {
        "float32": lambda: x @ w.T,
        "bfloat16": (lambda a, b: lambda: a @ b.T)(x.bfloat16(), w.bfloat16()),
    }
    if INT_MM is not None and device.type == "cpu":  # on GPUs it refuses few rows
        small = w.new_zeros(n - n % 8, -(-d // 16) * 16).to(torch.int8)
        p = x.new_ones(rows, small.shape[1]).to(torch.int8)
        out = torch.empty(rows, len(small), dtype=torch.int32)
        lying = packed(small, int_product) if rows <= FEW else None
        products["int8"] = lambda: int_product(p, small.T, out) if lying is None else lying(p)
    seconds = {"int8": float("inf")}
    with full_precision():
        taken = [{name: _timed(one, device) for name, one in products.items()} for _ in range(5)]
    for name in products:
        seconds[name] = statistics.median(one[name] for one in taken[1:])  # the first warms up
    return seconds


def _timed(product: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    product()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
