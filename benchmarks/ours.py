"""satlens, as its users call it, and detection alone from states at hand."""

import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.methods import Found, Method, Run
from satlens import wrap
from satlens.lenses import LogitLens
from satlens.models.protocol import States
from satlens.saturation.detect import Detector, detect, stream
from satlens.saturation.exact import Bounds
from satlens.saturation.method import Scan
from satlens.saturation.quantised import QuantisedScreen


def _events(found: Any) -> Found:
    return torch.tensor(found.layer), torch.tensor(found.token)


def _detect(method: str) -> Any:
    """`satlens.detect`: no logits are made where the method needs none."""

    def build(model: nn.Module, k: int) -> Run:
        wrapped = warm(wrap(model), method, k)
        return lambda ids: _events(detect(wrapped, ids, k=k, method=method, batch_size=len(ids)))

    return build


def _with_logits(model: nn.Module, k: int) -> Run:
    """`satlens.saturation.detect.stream`, which hands on the states and the model's own logits."""
    wrapped = warm(wrap(model), "certified", k)

    def run(ids: Tensor) -> Found:
        ((states, found),) = stream(wrapped, ids, k=k, method="certified", batch_size=len(ids))
        assert len(states.logits) == ids.numel()
        return _events(found)

    return run


def _alone(method: str) -> Any:
    """States at hand -> events, the final ranking included."""

    def build(model: nn.Module, k: int) -> Run:
        detector = Detector(warm(wrap(model), method, k), None, method)
        return lambda states: _events(detector.events(states, k))

    return build


def warm(wrapped: Any, method: str, k: int) -> Any:
    """The model, its static parts (kept as long as the model lives) built on a few tokens."""
    detect(wrapped, [[0, 1, 2]], k=k, method=method)
    return wrapped


def states_of(model: nn.Module, ids: Tensor) -> States:
    """The states of one forward pass that ends behind the last block."""
    wrapped = wrap(model)
    (batch,) = wrapped.batches(ids, len(ids))
    return wrapped.states(batch, logits=False)


def still(model: nn.Module, ids: Tensor) -> States:
    """The worst case for a scan that stops at the last change: at every layer the last state."""
    states = states_of(model, ids)
    resid = states.resid[-1:].expand_as(states.resid).contiguous()
    return States(resid, states.logits, states.doc, states.pos, states.input)


def static_parts(model: nn.Module) -> dict[str, Any]:
    """What a certified scan builds once a model: its precision, and seconds and bytes of building it anew."""
    scan = Scan(LogitLens(wrap(model)), "certified")
    head = scan.static.head
    start = time.perf_counter()
    screen, bounds = QuantisedScreen(head, scan.kind), Bounds.of(head)
    seconds = time.perf_counter() - start
    parts = [part for part in (screen, bounds, screen.rotation) if part is not None]
    tensors = [x for part in parts for x in vars(part).values()]
    size = sum(x.nbytes for x in tensors if isinstance(x, Tensor))
    # Milliseconds of one product in each precision, as the scan itself measured them to choose.
    products = {kind: 1000 * least for kind, least in scan.static.fastest.items()}
    return {"kind": scan.kind, "seconds": seconds, "bytes": size, "products_ms": products}


METHODS = {
    "certified": Method("satlens.detect, certified (no logits)", _detect("certified")),
    "certified_logits": Method("satlens stream, certified, with the model's logits", _with_logits),
    "backward": Method("satlens.detect, backward", _detect("backward")),
    "plain": Method("satlens.detect, plain", _detect("plain")),
    "alone": Method("detection alone, certified (states at hand)", _alone("certified"), states_of),
    "alone_backward": Method("detection alone, backward", _alone("backward"), states_of),
    "still_plain": Method(
        "nothing ever changes: detection alone, plain", _alone("plain"), still, "still_plain"
    ),
    "still": Method(
        "nothing ever changes: detection alone, certified",
        _alone("certified"),
        still,
        "still_plain",
    ),
}
