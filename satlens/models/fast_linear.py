"""Linear layers through oneDNN, which on some processors takes half the time of PyTorch's default.

The products are the same up to the rounding of their sums, so states differ in their last bits, and a rank
may be decided otherwise where two scores are nearly equal. Nothing else changes, and nothing stays.
"""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from satlens.models.protocol import Host, ResidualModel

PRODUCT: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""oneDNN's linear layer: a private call, so it may be missing."""


@contextmanager
def fast_linears(model: nn.Module | ResidualModel) -> Generator[int, None, None]:
    """Run the model's linear layers through oneDNN inside; gives how many it took.

    Taken are `torch.nn.Linear` and Hugging Face's Conv1D (of which a turned copy of the weight is made) in
    float32 on the CPU. HookedTransformer has no such modules: 0. Weights must not be edited inside. Hooks
    stay, and run; with gradients a layer goes its usual way. Off unless you ask for it, because results
    are no longer those of the plain model to the bit.

    Example:
        >>> layer = nn.Linear(8, 4).requires_grad_(False)
        >>> plain = layer(torch.ones(2, 8))
        >>> with fast_linears(layer) as n:
        ...     same = torch.allclose(layer(torch.ones(2, 8)), plain, atol=1e-6)
        >>> n in (0, 1), same, "forward" in vars(layer)
        (True, True, False)
    """
    host = model.host if isinstance(model, ResidualModel) else model
    with ExitStack() as stack:
        taken = 0
        for module in host.modules():
            weight = _weight(module)
            if weight is None or "forward" in vars(module):
                continue
            module.forward = partial(_forward, module, weight)
            stack.callback(delattr, module, "forward")
            taken += 1
        yield taken


def _weight(module: Host) -> Tensor | None:
    """``[out, in]`` of a layer that can be taken, else None."""
    kind = type(module)
    if kind is not nn.Linear and (kind.__name__, kind.__module__) != (
        "Conv1D",
        "transformers.pytorch_utils",
    ):
        return None
    weight = module.weight.detach()
    if PRODUCT is None or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    return weight if kind is nn.Linear else weight.T.contiguous()


def _forward(module: Host, weight: Tensor, x: Tensor) -> Tensor:
    if PRODUCT is None or x.dtype != torch.float32 or torch.is_grad_enabled():  # it has no gradient
        return type(module).forward(module, x)
    return product(x, weight, module.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``W x + b`` through oneDNN, of float32 on the CPU, without a gradient."""
    assert PRODUCT is not None
    return PRODUCT(x, weight, bias, "none", [], "")


def taken(module: nn.Module) -> Tensor | None:
    """The weight ``[out, in]`` that a layer inside `fast_linears` multiplies with; None for any other."""
    forward = vars(module).get("forward")
    if isinstance(forward, partial) and forward.func is _forward:
        return forward.args[1]
    return None
