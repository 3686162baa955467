"""A decoder is used only after it has given its host's own logits, with keys and values kept and without."""

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from satlens.errors import ModelError, NumericsError
from satlens.exits.decoder.decoder import Decoder, Places
from satlens.exits.decoder.hosts import decoder_of
from satlens.models.inputs.text import example_ids
from satlens.models.load import SAME
from satlens.models.protocol import Host, ResidualModel

LENGTH = 16
"""Positions compared; the last quarter one by one."""

_CHECKED: "weakref.WeakKeyDictionary[nn.Module, int]" = weakref.WeakKeyDictionary()
"""What each host looked like when its decoder was checked."""


def checked_decoder(model: ResidualModel) -> Decoder:
    """The host's blocks as a `Decoder`, compared with the host once, and again when it has been rebuilt.

    The decoder holds the host's own tensors, so edited weights need no new comparison: it reads them as
    they are.

    Raises:
        ModelError: hooks on the host, training mode, an unknown kind, or other logits.
    """
    host = model.host
    if host.training:
        raise ModelError(
            f"{model.name} is in training mode, so its dropout would be random. Call model.eval() first."
        )
    decoder = decoder_of(model)
    refuse_hooks(model)
    look = _look(host)
    if _CHECKED.get(host) != look:
        check(model, decoder)
        _CHECKED[host] = look
    return decoder


def _look(host: nn.Module) -> int:
    """A hash of a host's modules and of where its parameters are: new ones may mean another computation."""
    modules = tuple(
        (name, type(module).__name__, "forward" in vars(module))
        for name, module in host.named_modules()
    )
    parameters = tuple(
        (name, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        for name, tensor in host.named_parameters()
    )
    return hash((modules, parameters))


def refuse_hooks(model: ResidualModel) -> None:
    """A hook on the host would be expected to act, and could not: its modules are not called."""
    hooked = [
        name or type(model.host).__name__
        for name, module in model.host.named_modules()
        if _hooked(module)
    ]
    inside = {id(module) for module in model.host.modules()}
    hooked += [
        f"the hook point after block {layer}"
        for layer, point in enumerate(model.hook_points)
        if id(point) not in inside and _hooked(point)
    ]
    if hooked:
        raise ModelError(
            f"{model.name} has hooks on {len(hooked)} of its modules ({', '.join(hooked[:3])}"
            f"{', ...' if len(hooked) > 3 else ''}). generate computes the blocks itself, so they would not "
            "run. Remove them (model.reset_hooks() on a TransformerLens model), or use the model's own "
            "generate."
        )


def _hooked(module: Host) -> bool:
    """Whether somebody else's hook is on it: bridges put some of their own on norms."""
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return any(
        not (getattr(hook, "__module__", None) or "").startswith("transformer_lens.model_bridge")
        for hook in hooks
    )


@torch.no_grad()
def check(model: ResidualModel, decoder: Decoder) -> None:
    """Compare logits at every position of a short text."""
    vocabulary = len(decoder.embedding)
    length = min(LENGTH, model.context or LENGTH)
    ids = [(5 * i + own) % vocabulary for i, own in enumerate(example_ids(vocabulary) * 2)][:length]
    (batch,) = model.batches([ids], 1, include_bos=True)
    want = model.forward(batch)[0].double()
    if not want.isfinite().all():
        raise NumericsError(
            f"NaN scores for {int((~want.isfinite().all(1)).sum())} of {len(want)} positions of a short "
            f"text: the weights of {model.name} hold NaN, or overflow in this precision."
        )
    got = model.readout(_states(decoder, torch.tensor([ids], device=model.device))).double()
    spread = max(float(want.std()), 1e-6) if want.numel() > 1 else 1e-6
    # transformers computes RMS norms in float32 whatever the model's type.
    allowed = max(SAME.get(decoder.embedding.dtype, 1e-3), 1e-6) * spread
    off = (got - want).abs().amax(1)
    if not float(off.max()) <= allowed:
        place = int((~(off <= allowed)).nonzero()[0])
        raise ModelError(
            f"The blocks of {model.name}, read as those of a {decoder.kind}, do not give its own logits: "
            f"from position {place} on they differ, by up to {float(off.max()):.3g} where {allowed:.3g} is "
            f"allowed. {type(model.host).__name__} has something that generate does not know; use the "
            "model's own generate."
        )


def _states(decoder: Decoder, ids: Tensor) -> Any:
    """The last states ``[pos, d]``: most positions at once, the others one after the other."""
    length = ids.shape[1]
    first = max(length - LENGTH // 4, 1)
    cache = decoder.cache(1, length)
    rotary = None if decoder.tables is None else decoder.tables(length)
    states = []
    for start, stop in [(0, first), *((pos, pos + 1) for pos in range(first, length))]:
        pos = torch.arange(start, stop, device=ids.device)[None]
        at = Places(None, pos, stop, level=True)
        h = decoder.embed(ids[0, start:stop], pos[0])
        for layer, block in enumerate(decoder.blocks):
            h = block(h, at, cache, layer, rotary)
        states.append(h)
    return torch.cat(states)
