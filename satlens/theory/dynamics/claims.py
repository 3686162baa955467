"""What the paper says of scanning and snapping, and what a sweep says to it: one verdict a claim and rate.

Each effect is above 0 if the claim holds; its interval is over seeds, the rule is that of `satlens.verdicts`:

    leaves common tokens    the fall of the mass on them, over that with shuffled labels (no token distinct)
    distinct tokens rise    the least change of Z over the distinct tokens
    the frequent rise more  growth - 1/2          the rare are dropped first    dropped - 1/2
    no winner takes all     the attention outside the most attended token, less 0.05
    snaps                   1 - after - 1/2: more than half of the way of Z lies before the freeze; only where
                            every seed froze

and over all rates at once, from value = a + b log eta_Y + c log eta_Z of a freeze, by seed:

    earlier with a larger ratio     -b of the log of its step (eta_Z held)
    both rates only set the pace    b + c of the log of its step is -1: twice the rates, half the steps. In
                                    gradient flow it is so whatever else happens; here it says that the steps
                                    are small enough
    more is left on common tokens with a larger ratio     b of the attention on them at that step
    the ratio alone decides where it freezes              b + c of the same is 0

The second and the last are claims of no difference: they hold if the whole interval is within the margin.

Source: Tian et al. 2023 (arXiv 2305.16380), abstract and theorems; effects, null and margins are ours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.errors import InputError
from satlens.resampling import Estimate, finite
from satlens.theory.dynamics.sweep import RateSweep, over_seeds
from satlens.verdicts import FAILS, HOLDS, UNKNOWN, rule

MARGINS = {"mass": 0.02, "logit": 0.05, "share": 0.05, "power": 0.1}
"""Effects below these are too small to speak of: attention, logits, shares of pairs, powers of a rate."""


@dataclass(frozen=True)
class Claim:
    """One claim under one pair of rates (None: over all of them).

    Attributes:
        effect: above 0 if the claim holds, with its interval over seeds.
        verdict, why: by `satlens.verdicts`.
    """

    statement: str
    eta_z: float | None
    ratio: float | None
    effect: Estimate
    verdict: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "statement": self.statement, "eta_z": self.eta_z, "ratio": self.ratio,
            **self.effect.to_dict(), "verdict": self.verdict, "why": self.why,
        }  # fmt: skip


def judge_sweep(sweep: RateSweep, null: RateSweep) -> list[Claim]:
    """Every claim, by rate and over all rates.

    Args:
        sweep: of sequences with their own labels. null: the same with ``labels="shuffled"``.

    Raises:
        InputError: sweeps that do not belong together.
    """
    check_pair(sweep, null)
    v = sweep.values
    fall = v["common_start"] - v["common_end"]
    null_fall = null.values["common_start"] - null.values["common_end"]
    after = np.where(np.isfinite(v["freeze"]).all(0), v["after"], np.nan)
    per_rate = {
        "attention leaves common tokens": (fall - null_fall, "mass"),
        "every distinct token rises": (v["rarest_logit"], "logit"),
        "the more frequent rise more": (v["growth"] - 0.5, "share"),
        "the rare are dropped first": (v["dropped"] - 0.5, "share"),
        "no winner takes all": (0.95 - v["top"], "share"),
        "it snaps": (0.5 - after, "share"),
    }
    claims = [
        _claim(statement, effect[:, rate], MARGINS[unit], eta_z, ratio)
        for statement, (effect, unit) in per_rate.items()
        for rate, (eta_z, ratio) in enumerate(sweep.rates.tolist())
    ]
    return claims + over_rates(sweep)


def over_rates(sweep: RateSweep) -> list[Claim]:
    """The claims on how the freeze goes with the rates; they need no null."""
    step = powers(np.log(np.maximum(sweep.values["freeze"], 1)), sweep.rates)
    common = powers(sweep.values["common_freeze"], sweep.rates)
    power, mass = MARGINS["power"], MARGINS["mass"]
    return [
        _claim("the freeze comes earlier with a larger ratio", -step[:, 0], power),
        _no_difference("both rates together only set the pace", step.sum(1) + 1, power),
        _claim("a larger ratio leaves more on common tokens", common[:, 0], mass),
        _no_difference("the ratio alone decides where it freezes", common.sum(1), mass),
    ]


def powers(
    values: Float[ndarray, "seed rate"], rates: Float[ndarray, "rate 2"]
) -> Float[ndarray, "seed 2"]:
    """b and c of ``value = a + b log eta_Y + c log eta_Z`` by least squares, for each seed.

    Rates under which the value is not finite are left out of every seed; NaN where the rest cannot tell.

    >>> rates = np.array([[z, r] for z in (1.0, 2.0) for r in (1.0, 4.0)])
    >>> powers(np.log(100 / rates.prod(1))[None], rates).round(6).tolist()
    [[-1.0, 0.0]]
    """
    known = np.isfinite(values).all(0)
    design = np.column_stack([np.ones(len(rates)), np.log(rates.prod(1)), np.log(rates[:, 0])])
    if known.sum() < 4 or np.linalg.matrix_rank(design[known]) < 3:
        return np.full((len(values), 2), np.nan)
    return np.linalg.lstsq(design[known], values[:, known].T, rcond=None)[0][1:].T


def alike(estimate: Estimate, margin: float, effect: str) -> tuple[str, str]:
    """The verdict on a claim of no effect: it holds if the whole interval is within the margin.

    >>> alike(Estimate(0.0, -0.02, 0.03), 0.1, "b + c")[0], alike(Estimate(1.0, 0.9, 1.1), 0.1, "b + c")[0]
    ('holds', 'does not hold')
    """
    low, high = estimate.low, estimate.high
    if np.isnan(low) or np.isnan(high):
        return UNKNOWN, f"There is {estimate.note or 'no interval'}."
    span = f"The interval of {effect}, {estimate.value:+.3f} [{low:+.3f}, {high:+.3f}],"
    if -margin < low and high < margin:
        return HOLDS, f"{span} lies within {margin:g} of 0."
    if low > margin or high < -margin:
        return FAILS, f"{span} lies outside of {margin:g} around 0."
    return UNKNOWN, f"{span} is neither within {margin:g} of 0 nor outside."


def _claim(
    statement: str,
    effect: Float[ndarray, " seed"],
    margin: float,
    eta_z: float | None = None,
    ratio: float | None = None,
) -> Claim:
    estimate = over_seeds(effect)
    verdict, why = rule(estimate, margin, "the effect")
    return Claim(statement, eta_z, ratio, estimate, verdict, why)


def _no_difference(statement: str, effect: Float[ndarray, " seed"], margin: float) -> Claim:
    estimate = over_seeds(effect)
    return Claim(statement, None, None, estimate, *alike(estimate, margin, "the difference"))


def to_frame(claims: list[Claim]):
    """A pandas frame, one row a claim and rate."""
    import pandas as pd

    rows = [
        {
            "statement": one.statement, "eta_z": one.eta_z, "ratio": one.ratio,
            "effect": finite(one.effect.value), "low": finite(one.effect.low),
            "high": finite(one.effect.high), "verdict": one.verdict,
        }
        for one in claims
    ]  # fmt: skip
    return pd.DataFrame(rows)


def check_pair(sweep: RateSweep, null: RateSweep) -> None:
    """Refuse a null of other settings."""
    labels = [one.settings["sequences"]["labels"] for one in (sweep, null)]
    if labels != ["own", "shuffled"]:
        raise InputError(
            f"judge_sweep wants a sweep with labels 'own' and its null with 'shuffled'; got {labels}."
        )

    def rest(one: RateSweep) -> dict[str, Any]:
        sequences = {k: v for k, v in one.settings["sequences"].items() if k != "labels"}
        return {**one.settings, "sequences": sequences}

    if rest(sweep) != rest(null) or not np.array_equal(sweep.rates, null.rates):
        raise InputError(
            "The null was made with other settings than the sweep: run both with the same rates, seeds, "
            "sequences and training, the null with labels='shuffled'."
        )
