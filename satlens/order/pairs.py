"""Pairs of ranks i < j of one token: in order, out of order, tied, or not comparable.

With ``s`` the saturation layers and ``c = L - 1`` the censored value (see `satlens.conventions`):

    concordant   s_i < s_j            (s_j may be censored)
    discordant   s_i > s_j            (s_i may be censored)
    tied         s_i = s_j < c
    comparable   all of these: not both censored
"""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from satlens.conventions import is_censored
from satlens.errors import InputError
from satlens.saturation.events import SaturationEvents

CONCORDANT, TIED, COMPARABLE = range(3)


def rank_pairs(k: int) -> list[tuple[int, int]]:
    """The columns (i, j), i < j, in the order of every pair axis here.

    >>> rank_pairs(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return [(i, j) for i in range(k) for j in range(i + 1, k)]


def pair_counts(
    layer: Int[ndarray, "*draw token k"], n_layers: int
) -> Int[ndarray, "*draw token pair 3"]:
    """Per token and pair: is it concordant, tied, comparable (0 or 1 each).

    >>> pair_counts(np.array([[0, 3, 3]]), n_layers=4)[0].tolist()
    [[1, 0, 1], [1, 0, 1], [0, 0, 0]]
    """
    i, j = np.array(rank_pairs(layer.shape[-1])).T
    first, second = layer[..., i], layer[..., j]
    equal = first == second
    censored = is_censored(first, n_layers)
    parts = [first < second, equal & ~censored, ~(equal & censored)]
    return np.stack(parts, axis=-1).astype(np.int8)


def check_ranks(events: SaturationEvents, what: str, ranks: int = 2) -> None:
    """Refuse events without tokens, or with too few ranks to compare."""
    if len(events) == 0:
        raise InputError(f"{what} got events without tokens.")
    if events.k < ranks:
        raise InputError(
            f"{what} compares ranks and needs k >= {ranks}; these events have k={events.k}. "
            f"Detect again with k={ranks} or more."
        )
