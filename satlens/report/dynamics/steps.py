"""Steps along an axis: step 0, then the others by their logarithm; on paper as on the page."""

import math
from collections.abc import Sequence

PAPER, PAGE = 8, 6
"""Steps that have room along the axis, about; a phone is narrower than paper."""
GAP = 0.12
"""Of the axis, between step 0 and the first other step; half a decade at least."""


def positions(steps: Sequence[int]) -> list[float]:
    """Where each step stands: log10, and step 0 a gap before the first.

    >>> [round(one, 2) for one in positions([0, 10, 100, 1000])]
    [0.5, 1.0, 2.0, 3.0]
    """
    logs = [math.log10(step) for step in steps if step > 0]
    first, last = (min(logs), max(logs)) if logs else (1.0, 1.0)
    zero = first - max(0.5, GAP * (last - first))
    return [math.log10(step) if step > 0 else zero for step in steps]


def ticks(steps: Sequence[int], most: int) -> tuple[list[float], list[str]]:
    """Places and words of a few steps: the last, step 0, and others between that have room.

    >>> ticks([0, 10, 19, 37, 72, 139, 268, 518, 1000], PAPER)[1]
    ['0', '10', '19', '37', '72', '139', '268', '518', '1,000']
    """
    places = positions(steps)
    room = (max(places) - min(places)) / most * 0.75
    kept: list[int] = []
    for i in sorted(range(len(steps)), key=lambda i: (steps[i] > 0, -steps[i])):
        if all(abs(places[i] - places[j]) >= room for j in kept):
            kept.append(i)
    kept.sort(key=lambda i: steps[i])
    return [places[i] for i in kept], [f"{steps[i]:,}" for i in kept]
