"""What is left of a statistic once a null is taken away, and the verdict on the order of the ranks.

    excess = g(real layers) - mean over draws of g(null layers)

for a statistic g of the same tokens. Its interval draws documents again, the same ones for the real and the
null layers. The verdict is taken on the concordance, against the stricter of the two path nulls (the one
with the smaller excess), by the rule of `satlens.verdicts`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.nulls.block import PATH_NULLS
from satlens.nulls.draws import NullDraws
from satlens.order.concordance import concordance_of
from satlens.order.pairs import COMPARABLE, check_ranks, pair_counts
from satlens.order.tau import strict_tau_of
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document
from satlens.verdicts import UNKNOWN, rule

MARGIN = 0.02
"""Equivalence margin of the verdict, in concordance: 2 of 100 comparable pairs."""


@dataclass(frozen=True)
class Statistic:
    """A statistic as a function of sums over tokens, so that documents can be weighted."""

    per_token: Callable[[Int[ndarray, "*draw token k"], int], Num[ndarray, "*draw token m"]]
    of_sums: Callable[[Float[ndarray, "... m"]], Float[ndarray, "..."]]
    meaning: str


def _with_count(values: Num[ndarray, "*draw token"]) -> Float[ndarray, "*draw token 2"]:
    return np.stack([values, np.ones_like(values, dtype=float)], axis=-1)


def _mean(sums: Float[ndarray, "... 2"]) -> Float[ndarray, "..."]:
    return np.asarray(sums[..., 0] / sums[..., 1])


STATISTICS = {
    "concordance": Statistic(
        lambda layer, n_layers: pair_counts(layer, n_layers).sum(-2), concordance_of,
        "(concordant + tied / 2) / comparable",
    ),
    "comparable": Statistic(
        lambda layer, n_layers: _with_count(pair_counts(layer, n_layers)[..., COMPARABLE].mean(-1)),
        _mean, "comparable share of all pairs",
    ),
    "strict_tau": Statistic(
        lambda layer, n_layers: _with_count(strict_tau_of(layer)), _mean,
        "mean strict tau of all tokens",
    ),
    "spread": Statistic(
        lambda layer, n_layers: _with_count(layer[..., -1] - 1.0 * layer[..., 0]), _mean,
        "restricted mean layer of the last rank minus that of rank 1, in layers",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Excess:
    """One statistic of the real layers beside one null.

    Attributes:
        kind: the null. statistic: a name of `STATISTICS`.
        real: the statistic of the real layers, on the tokens the null was drawn for.
        draws: ``[draw]`` the statistic of each draw of the null.
        estimate: real minus the mean of the draws, with its interval over documents.
        tokens: how many tokens the null was drawn for.
    """

    kind: str
    statistic: str
    real: float
    draws: Float[ndarray, " draw"]
    estimate: Estimate
    tokens: int


def excess(
    null: NullDraws,
    *,
    statistic: str = "concordance",
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Excess:
    """By how much do the real layers exceed the null, beyond what the choice of documents explains?

    Args:
        statistic: "concordance", "comparable", "strict_tau" or "spread" (see `STATISTICS`).
        draws, level, seed: of the bootstrap over documents.

    Raises:
        InputError: no tokens, k below 2, an unknown statistic, unusable settings.

    Example:
        >>> from satlens.nulls.draws import permuted_draws
        >>> from satlens.saturation.events import SaturationEvents
        >>> events = SaturationEvents([[0, 1, 2]] * 4, [[7, 5, 6]] * 4, [0, 0, 1, 1], [0, 1, 0, 1], 4)
        >>> result = excess(permuted_draws(events, draws=200))
        >>> result.real, round(result.estimate.value, 1), len(result.draws)
        (1.0, 0.5, 200)
    """
    check_ranks(null.events, "excess")
    if statistic not in STATISTICS:
        raise InputError(f"Unknown statistic {statistic!r}; known are {', '.join(STATISTICS)}.")
    g, events = STATISTICS[statistic], null.events
    # One draw at a time: pairs of all draws at once would be the largest array of the audit.
    layers = [events.layer, *null.layer]
    sums = np.stack(
        [by_document(g.per_token(layer, events.n_layers), events.doc) for layer in layers], axis=1
    )
    documents, n, m = sums.shape

    def difference(s: Float[ndarray, "... nm"]) -> Float[ndarray, "... 1"]:
        values = g.of_sums(s.reshape(*s.shape[:-1], n, m))
        return values[..., :1] - values[..., 1:].mean(-1, keepdims=True)

    interval = bootstrap(
        sums.reshape(documents, n * m), difference, draws=draws, level=level, seed=seed
    )
    values = g.of_sums(sums.sum(0))
    return Excess(null.kind, statistic, float(values[0]), values[1:], interval[0], len(events))


@dataclass(frozen=True)
class Verdict:
    """Are the ranks fixed in order beyond what converging alone gives? The rule: `satlens.verdicts`."""

    verdict: str
    excess: Excess | None
    margin: float
    why: str
    statement: str = "The ranks are fixed in order beyond what converging alone gives."


def verdict(
    nulls: Mapping[str, NullDraws],
    *,
    margin: float = MARGIN,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Verdict:
    """The verdict from the excess of the concordance over the stricter path null.

    Args:
        nulls: by kind, as from `draw_nulls`; needs "rotated" and "exchanged".
        margin: the excess below which an order is too small to speak of, in concordance.

    Raises:
        InputError: a path null is missing, a margin that is not positive, unusable settings.
    """
    missing = [kind for kind in PATH_NULLS if kind not in nulls]
    if missing:
        raise InputError(
            f"The verdict is taken against the stricter of {' and '.join(PATH_NULLS)}; missing: "
            f"{', '.join(missing)}. Draw them with draw_nulls(..., kinds={PATH_NULLS})."
        )
    if not margin > 0:
        raise InputError(f"margin must be above 0, got {margin}.")
    both = [excess(nulls[kind], draws=draws, level=level, seed=seed) for kind in PATH_NULLS]
    defined = [one for one in both if not np.isnan(one.estimate.value)]
    if len(defined) < len(both):
        return Verdict(UNKNOWN, None, margin, "No pair of ranks can be compared.")
    return judge(min(defined, key=lambda one: one.estimate.value), margin)


def judge(one: Excess, margin: float = MARGIN) -> Verdict:
    """The rule of `satlens.verdicts`, on one excess."""
    null = f"the {one.kind} path" if one.kind in PATH_NULLS else f"the {one.kind} null"
    found, why = rule(one.estimate, margin, f"the excess over {null}")
    return Verdict(found, one, margin, why)
