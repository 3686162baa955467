"""The conventions of every array and table, said once.

* Layer ``l = 0 .. L-1`` is the residual state AFTER block ``l``. The embedding is not a layer.
* Rank 1 is the top of the ranking. Arrays have a rank axis of length ``k`` in order, so that
  column ``i - 1`` is rank ``i``; tables say ``1 .. k``.
* The final ranking is that of the model's own output. Of equal scores the lower id comes first,
  in every layer and on every path.
* ``s[token, i]``, the saturation layer of rank ``i``: the first layer from which rank ``i`` holds the
  final token in that layer and in every later one. ``s = 0``: fixed from the first layer on.
  ``s = L - 1``: seen fixed only at the output. That is a CENSORED observation (it would have been
  fixed some time after layer ``L - 2``), neither a late event nor a tie.
* States of one document are never independent: documents are the unit of every interval.
"""

from typing import TypeVar

Layers = TypeVar("Layers")

DEFAULT_K = 5
"""Ranks followed when nothing else is said, as in Lioubashevski et al. (2025)."""

DEFAULT_SEED = 0


def is_censored(layer: Layers, n_layers: int) -> Layers:
    """Whether a saturation layer was seen fixed only at the output, ``s = L - 1``.

    Works on an int and elementwise on arrays and tensors.

    >>> is_censored(11, n_layers=12), is_censored(10, n_layers=12)
    (True, False)
    """
    return layer == n_layers - 1  # type: ignore[return-value]
