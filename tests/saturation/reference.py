"""Saturation layers straight from the definition: one token, one rank, one layer at a time."""

import torch


def ranking(scores: list[float]) -> list[int]:
    """All ids, highest score first, of equal scores the lower id first."""
    return sorted(range(len(scores)), key=lambda v: (-scores[v], v))


def saturation(scores: torch.Tensor, final: torch.Tensor) -> torch.Tensor:
    """``scores [layer, token, output]``, ``final [token, k]`` -> ``s [token, k]``."""
    n_layers, n_tokens, _ = scores.shape
    k = final.shape[1]
    s = torch.empty(n_tokens, k, dtype=torch.long)
    for token in range(n_tokens):
        tops = [ranking(scores[layer, token].tolist())[:k] for layer in range(n_layers)]
        tops[-1] = final[token].tolist()
        for rank in range(k):
            first = n_layers - 1
            while first > 0 and tops[first - 1][rank] == tops[-1][rank]:
                first -= 1
            s[token, rank] = first
    return s
