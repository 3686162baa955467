"""The law of ascending pairs when layers are shuffled inside tokens.

C counts the pairs of ranks i < j with s_i < s_j. When the k layers of a token are shuffled and the first m
kept, the law of C depends only on m and on how the layers tie, and is known (`ascents_law`), so that a draw
over all tokens of one kind is one multinomial.
"""

from collections.abc import Callable
from functools import lru_cache
from math import comb

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


@lru_cache(maxsize=4096)
def mann_whitney_law(a: int, b: int) -> tuple[float, ...]:
    """P(u pairs in order), u = 0 .. a*b, when ``a`` lower and ``b`` higher values are shuffled."""
    if a == 0 or b == 0:
        return (1.0,)
    law = np.zeros(a * b + 1)
    # The last of the shuffled values is a lower one, or a higher one: then it adds a pairs.
    law[: (a - 1) * b + 1] += a / (a + b) * np.array(mann_whitney_law(a - 1, b))
    law[a:] += b / (a + b) * np.array(mann_whitney_law(a, b - 1))
    return tuple(law)


@lru_cache(maxsize=4096)
def ascents_law(ties: tuple[int, ...], keep: int) -> Float[ndarray, " ascents"]:
    """P(c ascending pairs among the first ``keep``) when values of these multiplicities are shuffled.

    ``ties`` holds how often each distinct value occurs, lowest value first.

    >>> ascents_law((1, 1, 1), keep=3).round(3).tolist()
    [0.167, 0.333, 0.333, 0.167]
    """
    laws = {0: np.ones(1)}  # by the number of values kept so far, from the lowest value up
    for size in ties:
        grown = {}
        for kept, law in laws.items():
            for more in range(min(size, keep - kept) + 1):
                term = comb(size, more) * np.convolve(law, mann_whitney_law(kept, more))
                old = grown.get(kept + more, np.zeros(1))
                total = np.zeros(max(len(old), len(term)))
                total[: len(old)] += old
                total[: len(term)] += term
                grown[kept + more] = total
        laws = grown
    return laws[keep] / laws[keep].sum()


def permuted_ascents(
    layer: Int[ndarray, "token k"],
    keep: Int[ndarray, " token"],
    weight: Callable[[int], float],
    *,
    draws: int,
    seed: int,
) -> Float[ndarray, " draw"]:
    """Sum over tokens of ``weight(keep) * ascending pairs`` after a shuffle inside every token."""
    rng = np.random.default_rng(seed)
    ranked = np.sort(layer, axis=1)
    equal = (ranked[:, 1:] == ranked[:, :-1]).astype(np.int16)
    kinds, counts = np.unique(np.column_stack([keep, equal]), axis=0, return_counts=True)
    drawn = np.zeros(draws)
    for (kept, *same), count in zip(kinds.tolist(), counts, strict=True):
        ends = [i + 1 for i, tie in enumerate(same) if not tie] + [layer.shape[1]]
        law = ascents_law(tuple(np.diff(ends, prepend=0).tolist()), int(kept))
        drawn += weight(int(kept)) * (rng.multinomial(count, law, size=draws) @ np.arange(len(law)))
    return drawn
