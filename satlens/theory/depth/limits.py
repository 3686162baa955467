"""How deep a Transformer of a given width should be: depth beyond a threshold is no better than width.

    threshold                    L_th = log_3(width)                        width: the model dimension d
    line fitted to real models   ln(width) = A + B depth                    A = 5.039, B = 0.0555
    parameters on that line      N(depth) = 12 depth width^2 = 12 depth exp(2 A + 2 B depth)

The threshold comes from the theory, and holds up to constants (6 at width 768); the line from networks that
the authors trained: A and B are where deeper stopped winning. At widths below exp(A) = 154 it asks for no
block at all.

Source: Levine et al. 2020, "Limits to depth efficiencies of self-attention" (arXiv 2006.12467).
"""

import math

from satlens.errors import InputError

INTERCEPT, SLOPE = 5.039, 0.0555
"""A and B of the fitted line, as published."""
LEAST_WIDTH = math.exp(INTERCEPT)
"""At this width the line asks for no block at all."""
BLOCK_WEIGHTS = 12
"""Weights of a block over ``width^2``: 4 of attention, 8 of an MLP four times as wide."""


def threshold_depth(width: int) -> float:
    """The depth up to which the theorem has depth win over width, ``log_3(width)``.

    Args:
        width: the model dimension.

    Raises:
        InputError: no whole number of 1 or more.

    Example:
        >>> round(threshold_depth(768), 2)
        6.05
    """
    return math.log(_whole("width", width, 1), 3)


def recommended_depth(width: int) -> int:
    """The number of blocks that the fitted line gives a model of this width.

    With fewer blocks a deeper and narrower model of the same size would be better, with more a shallower and
    wider one, says the line. It knows of no data and no training but those it was fitted with.

    Args:
        width: the model dimension.

    Raises:
        InputError: a width at which the line asks for less than one block.

    Example:
        >>> [recommended_depth(width) for width in (256, 512, 768, 1600)]
        [9, 22, 29, 42]
    """
    _whole("width", width, 1)
    depth = round((math.log(width) - INTERCEPT) / SLOPE)
    if depth < 1:
        least = math.ceil(math.exp(INTERCEPT + SLOPE / 2))
        raise InputError(
            f"A width of {width} is below what the line was fitted to: it gives {depth} blocks, and one or "
            f"more from width {least} on."
        )
    return depth


def recommended_width(depth: int) -> int:
    """The width that the fitted line gives a model of this many blocks; the inverse of `recommended_depth`.

    Raises:
        InputError: no whole number of 1 or more.

    Example:
        >>> recommended_width(12), recommended_width(48)
        (300, 2215)
    """
    return round(math.exp(INTERCEPT + SLOPE * _whole("depth", depth, 1)))


def size_at(depth: int) -> float:
    """Weights in the blocks of a model on the fitted line, ``12 depth width^2``; embeddings apart.

    Raises:
        InputError: no whole number of 1 or more.

    Example:
        >>> f"{size_at(48):.3g}"
        '2.83e+09'
    """
    _whole("depth", depth, 1)
    return BLOCK_WEIGHTS * depth * math.exp(2 * (INTERCEPT + SLOPE * depth))


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of {least} or more; got {value!r}.")
    return value
