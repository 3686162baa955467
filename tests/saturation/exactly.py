"""The scores and saturation layers of a head by exact arithmetic: Python fractions, one number at a time."""

from fractions import Fraction

import torch

from tests.saturation.reference import saturation


def exact_scores(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``T(f64(w . x + b))``, ``[..., output]`` as float64, T the type of the weight."""
    rows = [[Fraction(v) for v in row] for row in weight.double().tolist()]
    offsets = [Fraction(v) for v in ([0.0] * len(rows) if bias is None else bias.double().tolist())]
    flat = x.reshape(-1, x.shape[-1]).double().tolist()
    scores = [
        [
            float(sum((a * Fraction(b) for a, b in zip(w, state, strict=True)), o))
            for w, o in zip(rows, offsets, strict=True)
        ]
        for state in flat
    ]
    return (
        torch.tensor(scores, dtype=torch.float64).to(weight.dtype).double().view(*x.shape[:-1], -1)
    )


def exact_layers(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, k: int):
    """The saturation layers by the definition, and the final ranking."""
    scores = exact_scores(x, weight, bias)
    final = scores[-1].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return saturation(scores, final), final
