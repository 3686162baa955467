"""Right more often when fixed early? Differences of proportions at every "how early", plain and matched.

At positions where top-1 is wrong, E = {rank i fixed at least g layers before the end}, F = {fixed only at
the last layer}, and x / n the share of positions where rank i is the next token,

    difference     x_E / n_E - x_F / n_F
    odds ratio     (x_E + 1/2) (n_F - x_F + 1/2) / ((x_F + 1/2) (n_E - x_E + 1/2))
    z              difference / sqrt( q (1 - q) (1 / n_E + 1 / n_F) ),   q = (x_E + x_F) / (n_E + n_F)

and matched on the final output, over strata c (`satlens.reranking.confounders`) with n_c = n_Ec + n_Fc,
w_c = n_Ec n_Fc / n_c and m the positions' expected shares summed,

    difference     sum_c w_c [ (x_Ec - m_Ec) / n_Ec - (x_Fc - m_Fc) / n_Fc ] / sum_c w_c
    odds ratio     sum_c x_Ec (n_Fc - x_Fc) / n_c / sum_c x_Fc (n_Ec - x_Ec) / n_c      (Mantel and Haenszel)

Taking off m, the model's own probability, removes what still differs inside a stratum (as in matching with a
regression, Abadie and Imbens 2011). The z test takes positions as independent; the intervals draw documents.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import stats

from satlens.conventions import DEFAULT_SEED
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, bootstrap, finite

PAPER_GAP = 7
"""Layers before the end from which on the paper calls a rank early (models of 32 and 48 layers)."""
_SLICE = 64
N, X, M = 0, 1, 2


@dataclass(frozen=True)
class TwoProportions:
    """The published test: how often right among the early and among those fixed only at the last layer.

    Attributes:
        gap: layers before the end that count as early.
        early, early_right, last, last_right: positions, and how many of them are right.
        z, p: of the two-proportion test, two-sided; NaN where a side is empty.
    """

    gap: int
    early: int
    early_right: int
    last: int
    last_right: int
    z: float
    p: float

    @staticmethod
    def of(lead: Int[ndarray, " n"], right: ndarray, gap: int) -> "TwoProportions":
        """From the lead of a rank at each position, and whether it is right there."""
        early, last = lead >= gap, lead == 0
        counts = (
            int(early.sum()),
            int(right[early].sum()),
            int(last.sum()),
            int(right[last].sum()),
        )
        return TwoProportions(gap, *counts, *two_proportion_test(*counts))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, with both shares."""
        return {
            "gap": self.gap,
            "early": self.early,
            "early_right": self.early_right,
            "early_share": self.early_right / self.early if self.early else None,
            "last": self.last,
            "last_right": self.last_right,
            "last_share": self.last_right / self.last if self.last else None,
            "z": finite(self.z),
            "p": finite(self.p),
        }


def two_proportion_test(n1: int, x1: int, n2: int, x2: int) -> tuple[float, float]:
    """z and the two-sided p of equal proportions, with the pooled variance.

    >>> z, p = two_proportion_test(200, 80, 100, 25)
    >>> round(z, 3), round(p, 4)
    (2.568, 0.0102)
    """
    if min(n1, n2) == 0 or not 0 < x1 + x2 < n1 + n2:
        return np.nan, np.nan
    pooled = (x1 + x2) / (n1 + n2)
    z = (x1 / n1 - x2 / n2) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    return float(z), float(max(2 * stats.norm.sf(abs(z)), np.finfo(float).tiny))


def paper_gap(n_layers: int) -> int:
    """7 layers where the model has more than 7 to wait; else the same share of its depth as 7 of 48.

    >>> paper_gap(48), paper_gap(16), paper_gap(5)
    (7, 7, 1)
    """
    return PAPER_GAP if n_layers > PAPER_GAP else max(1, round(PAPER_GAP / 48 * n_layers))


@dataclass(frozen=True)
class Sweep:
    """Differences at every gap g = 1 .. L - 1 (index g - 1), with intervals over documents.

    Attributes:
        early: positions that are early. last: positions fixed only at the last layer.
        difference, odds_ratio: as they are. matched, matched_odds_ratio: held against like positions.
    """

    early: Int[ndarray, " gap"]
    last: int
    difference: Intervals
    odds_ratio: Intervals
    matched: Intervals
    matched_odds_ratio: Intervals

    def to_dict(self) -> list[dict[str, Any]]:
        """Ready for JSON, one entry a gap."""
        names = ("difference", "odds_ratio", "matched", "matched_odds_ratio")
        return [
            {
                "gap": g + 1,
                "early": int(self.early[g]),
                "last": self.last,
                **{name: getattr(self, name)[g].to_dict() for name in names},
            }
            for g in range(len(self.early))
        ]


@dataclass(frozen=True)
class ByLead:
    """Shares by layers before the end, 0 .. L - 1: how often right, and the model's own expectation."""

    positions: Int[ndarray, " lead"]
    right: Intervals
    expected: Intervals

    def to_dict(self) -> list[dict[str, Any]]:
        """Ready for JSON, one entry a lead."""
        return [
            {
                "lead": e,
                "positions": int(n),
                "right": self.right[e].to_dict(),
                "expected": self.expected[e].to_dict(),
            }
            for e, n in enumerate(self.positions)
        ]


def cell_sums(
    doc: Int[ndarray, " n"],
    cell: Int[ndarray, " n"],
    lead: Int[ndarray, " n"],
    right: ndarray,
    expectation: Float[ndarray, " n"],
    n_layers: int,
) -> Float[ndarray, "doc cell layer 3"]:
    """Positions, right ones and expected ones of each document, stratum and lead."""
    _, index = np.unique(doc, return_inverse=True)
    shape = (int(index.max()) + 1, int(cell.max()) + 1, n_layers)
    flat = np.ravel_multi_index((index, cell, lead), shape)
    weights = (None, right.astype(float), expectation)
    size = int(np.prod(shape))
    return np.stack(
        [np.bincount(flat, weights=w, minlength=size).reshape(shape) for w in weights], axis=-1
    )


def sweep(
    sums: Float[ndarray, "doc cell layer 3"],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Sweep:
    """Every gap at once; one bootstrap over documents."""
    documents, *shape = sums.shape
    gaps = shape[1] - 1

    def numbers(flat: Float[ndarray, "... m"]) -> Float[ndarray, "... q"]:
        if flat.ndim == 1:
            return _differences(flat.reshape(*shape))
        parts = np.split(
            flat, range(_SLICE, len(flat), _SLICE)
        )  # strata of all draws are many numbers
        return np.concatenate([_differences(p.reshape(-1, *shape)) for p in parts])

    made = bootstrap(sums.reshape(documents, -1), numbers, draws=draws, level=level, seed=seed)
    total = sums.sum((0, 1))[:, N].astype(int)
    early = np.cumsum(total[::-1])[::-1][1:]
    return Sweep(early, int(total[0]), *(_part(made, i * gaps, (i + 1) * gaps) for i in range(4)))


def by_lead(
    sums: Float[ndarray, "doc cell layer 3"],
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> ByLead:
    """How often right at each lead, and how often by the model's own probability."""
    layers = sums.shape[2]
    pooled = sums.sum(1)

    def shares(flat: Float[ndarray, "... m"]) -> Float[ndarray, "... q"]:
        s = flat.reshape(*flat.shape[:-1], layers, 3)
        return np.concatenate([s[..., X] / s[..., N], s[..., M] / s[..., N]], axis=-1)

    made = bootstrap(pooled.reshape(len(pooled), -1), shares, draws=draws, level=level, seed=seed)
    return ByLead(
        pooled.sum(0)[:, N].astype(int), _part(made, 0, layers), _part(made, layers, 2 * layers)
    )


def _differences(s: Float[ndarray, "*draw cell layer 3"]) -> Float[ndarray, "*draw q"]:
    """The four columns of a sweep, gap after gap in each."""
    early = np.cumsum(s[..., ::-1, :], axis=-2)[..., ::-1, :][..., 1:, :]
    last = s[..., :1, :]
    e, f = early.sum(-3), last.sum(-3)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = e[..., X] / e[..., N] - f[..., X] / f[..., N]
        odds = (e[..., X] + 0.5) * (f[..., N] - f[..., X] + 0.5)
        odds = odds / ((f[..., X] + 0.5) * (e[..., N] - e[..., X] + 0.5))
        odds = np.where((e[..., N] > 0) & (f[..., N] > 0), odds, np.nan)
        size = np.maximum(early[..., N] + last[..., N], 1)
        above = (early[..., X] - early[..., M]) * last[..., N] / size
        below = (last[..., X] - last[..., M]) * early[..., N] / size
        weight = early[..., N] * last[..., N] / size
        matched = (above - below).sum(-2) / weight.sum(-2)
        up = (early[..., X] * (last[..., N] - last[..., X]) / size).sum(-2)
        down = (last[..., X] * (early[..., N] - early[..., X]) / size).sum(-2)
        ratio = np.where(down > 0, up / down, np.nan)
    return np.concatenate([difference, odds, matched, ratio], axis=-1)


def _part(made: Intervals, start: int, end: int) -> Intervals:
    """Some columns of one bootstrap."""
    return made.map(lambda array: array[start:end])


def at_gap(found: Sweep, gap: int) -> dict[str, Estimate]:
    """The four numbers of one gap."""
    names = ("difference", "odds_ratio", "matched", "matched_odds_ratio")
    return {name: getattr(found, name)[gap - 1] for name in names}
