"""Null models: saturation layers of the same tokens, with everything but the order's cause kept."""

from satlens.nulls.draws import NullDraws, permute_ranks, permuted_draws, untrained_draws
from satlens.nulls.sampler import EachNull, NullSampler, draw_nulls

__all__ = [
    "EachNull",
    "NullDraws",
    "NullSampler",
    "draw_nulls",
    "permute_ranks",
    "permuted_draws",
    "untrained_draws",
]
