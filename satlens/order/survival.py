"""When each rank is fixed: survival curves over layers, coverage, and how often an answer is lost again.

A rank is "alive" until it is fixed. An event at layer s; s = L - 1 is right-censored:

    S(l) = P(s > l) = product over layers m <= l of (1 - events at m / tokens still alive at m)

(Kaplan-Meier). All censoring is at the one layer L - 1, where the curve keeps its last value, so that

    S(l) = share of tokens with s > l   for l < L - 1,       sum_{l < L-1} S(l) = mean of s

the mean with censored tokens at L - 1: the restricted mean layer, a lower bound of the mean.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray
from scipy import stats

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.resampling import DRAWS, LEVEL, Intervals, bootstrap, by_document
from satlens.saturation.events import SaturationEvents


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier curves per rank, with bands over documents.

    Attributes:
        curve: ``value``, ``low``, ``high`` are ``[k, L]``: the share of tokens not yet fixed after
            layer l. The last column repeats the one before it: nothing is known beyond it.
        median: ``[k]`` first layer by which half of the tokens are fixed; infinite where fewer are.
        mean: ``[k]`` restricted mean layer, censored tokens counted as L - 1.
    """

    curve: Intervals
    median: Intervals
    mean: Intervals


def survival(
    events: SaturationEvents, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
) -> Survival:
    """By which layer is each rank fixed, for what share of the tokens?

    Raises:
        InputError: no tokens, unusable draws or level.

    Source: Kaplan and Meier 1958, by `scipy.stats.ecdf`; bands by bootstrap over documents.

    Example:
        >>> events = SaturationEvents([[0, 3], [1, 3]], [[7, 5], [1, 2]], [0, 1], [0, 0], n_layers=4)
        >>> result = survival(events, draws=100)
        >>> result.curve.value.tolist()
        [[0.5, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
        >>> result.median.value.tolist(), result.mean.value.tolist()
        ([0.0, inf], [0.5, 3.0])
    """
    _check(events, "survival")
    layers = np.arange(events.n_layers)
    alive = events.layer[:, :, None] > layers[:-1]  # [token, k, L - 1]
    sums = _token_sums(alive.reshape(len(events), -1), events.doc)
    k = events.k
    settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}

    def curves(s: ndarray) -> ndarray:
        known = (s[..., :-1] / s[..., -1:]).reshape(*s.shape[:-1], k, -1)
        last = known[..., -1:] if known.shape[-1] else np.ones((*known.shape[:-1], 1))
        return np.concatenate([known, last], axis=-1)

    def medians(s: ndarray) -> ndarray:
        half = curves(s) <= 0.5
        return np.where(half.any(-1), half.argmax(-1), np.inf)

    curve = bootstrap(sums, curves, **settings)
    return Survival(
        curve=replace(curve, value=_kaplan_meier(events)),
        median=bootstrap(sums, medians, **settings, interpolate=False),
        mean=bootstrap(sums, lambda s: curves(s)[..., :-1].sum(-1), **settings),
    )


def _kaplan_meier(events: SaturationEvents) -> Float[ndarray, "k layer"]:
    """scipy's estimator, read at every layer."""
    curves = np.ones((events.k, events.n_layers))
    for i in range(events.k):
        censored = events.censored[:, i]
        layer = events.layer[:, i].astype(float)
        sample = stats.CensoredData(uncensored=layer[~censored], right=layer[censored])
        curves[i] = stats.ecdf(sample).sf.evaluate(np.arange(events.n_layers))
    return curves


@dataclass(frozen=True)
class Coverage:
    """Per rank, each ``[k]``: share fixed before the output, censored share, mean layer."""

    covered: Intervals
    censored: Intervals
    mean_layer: Intervals


def coverage(
    events: SaturationEvents, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
) -> Coverage:
    """What share of tokens is seen fixed inside the model, per rank, and where on average?

    ``mean_layer`` counts censored tokens as L - 1. Raises InputError: no tokens, unusable settings.

    Example:
        >>> events = SaturationEvents([[0, 3], [1, 3]], [[7, 5], [1, 2]], [0, 1], [0, 0], n_layers=4)
        >>> coverage(events, draws=100).covered.value.tolist()
        [1.0, 0.0]
    """
    _check(events, "coverage")
    k = events.k
    settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    sums = _token_sums(np.column_stack([events.censored, events.layer]), events.doc)
    return Coverage(
        covered=bootstrap(sums, lambda s: 1 - s[..., :k] / s[..., -1:], **settings),
        censored=bootstrap(sums, lambda s: s[..., :k] / s[..., -1:], **settings),
        mean_layer=bootstrap(sums, lambda s: s[..., k : 2 * k] / s[..., -1:], **settings),
    )


@dataclass(frozen=True)
class Flips:
    """Per rank, each ``[k]``: share of tokens that lost their final answer again; mean changes."""

    lost: Intervals
    changes: Intervals


def flips(
    events: SaturationEvents, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
) -> Flips:
    """How often did a rank hold its final token, and lose it again before it was fixed?

    ``changes`` is the mean number of times, from one layer to the next, that the token at the rank
    changes (0 .. L - 1).

    Raises:
        InputError: no tokens, or events detected without ``trajectory=True``.

    Example:
        >>> top = [[[7], [5], [7]]]
        >>> events = SaturationEvents([[2]], [[7]], doc=[0], pos=[0], n_layers=3, top=top)
        >>> result = flips(events)
        >>> result.lost.value.tolist(), result.changes.value.tolist()
        ([1.0], [2.0])
    """
    _check(events, "flips")
    if events.top is None:
        raise InputError(
            "flips needs the ranking of every layer, and these events have none: detect again with "
            "trajectory=True."
        )
    held = events.top == events.token[:, None, :]
    lost = (held[:, :-1] & ~held[:, 1:]).any(1)
    changes = (events.top[:, :-1] != events.top[:, 1:]).sum(1)
    k = events.k
    settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    sums = _token_sums(np.column_stack([lost, changes]), events.doc)
    return Flips(
        lost=bootstrap(sums, lambda s: s[..., :k] / s[..., -1:], **settings),
        changes=bootstrap(sums, lambda s: s[..., k : 2 * k] / s[..., -1:], **settings),
    )


def _token_sums(values: Shaped[ndarray, "token m"], doc: ndarray) -> Float[ndarray, "doc m+1"]:
    """Sums by document, and in the last column the number of tokens."""
    return by_document(np.column_stack([values, np.ones(len(values))]), doc)


def _check(events: SaturationEvents, what: str) -> None:
    if len(events) == 0:
        raise InputError(f"{what} got events without tokens.")
