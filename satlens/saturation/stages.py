"""Which rank a state is working on: stages, read from the saturation layers alone.

With the running maximum over ranks, so that a rank fixed before a higher one waits for it,

    s'_i = max(s_1 .. s_i),        s'_0 = -1,
    the state at layer l is in stage i      where s'_{i-1} < l <= s'_i,

that is, stage = 1 + number of leading ranks that are all fixed before l. Stage k + 1 is a state in which
every rank that is followed was fixed before.
"""

import numpy as np
from jaxtyping import Int
from numpy import ndarray


def settled(layer: Int[ndarray, "*token k"]) -> Int[ndarray, "*token k"]:
    """``s'``: the layer from which each rank and all ranks above it are fixed.

    >>> settled(np.array([[1, 4, 2]])).tolist()
    [[1, 4, 4]]
    """
    return np.maximum.accumulate(layer, axis=-1)


def stage_of(layer: Int[ndarray, "token k"], n_layers: int) -> Int[ndarray, "token layer"]:
    """The stage, 1 .. k + 1, of every state of every token.

    Args:
        layer: saturation layers, as in ``SaturationEvents.layer``.
        n_layers: number of blocks L.

    Example:
        >>> stage_of(np.array([[1, 1, 3]]), n_layers=5).tolist()
        [[1, 1, 3, 3, 4]]
    """
    # An axis for the layers behind; added up rank by rank, so [token, layer, k] never exists.
    stage = np.ones((len(layer), n_layers), np.int8)
    layers = np.arange(n_layers)
    for fixed in settled(layer).T:
        stage += fixed[:, None] < layers
    return stage
