"""Which weights a result was computed with: one hash over all named parameters."""

import hashlib

import torch
from torch import nn

from satlens.models.protocol import ResidualModel


@torch.no_grad()
def weights_sha256(model: nn.Module | ResidualModel) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's parameters, in order of name.

    The same host gives the same hash on every device; another dtype, another layout of the same
    weights (a HookedTransformer beside a bridge), or one changed bit gives another.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> before = weights_sha256(layer)
        >>> before == weights_sha256(layer)
        True
        >>> _ = layer.bias.data.add_(1)
        >>> before == weights_sha256(layer)
        False
    """
    host = model.host if isinstance(model, ResidualModel) else model
    digest = hashlib.sha256()
    for name, parameter in sorted(host.named_parameters()):
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        flat = parameter.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
