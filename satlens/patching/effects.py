"""Outcomes of experiments as means with intervals over documents, and as effects over controls.

A unit u (a pair, a recipient) was tried at some points g of a grid (offsets, strengths). With y[u, g] an
outcome and known[u, g] whether there is one,

    mean      m_g = sum_u y / sum_u known
    effect    e_g(c) = mean over the u known in both of (y_u - y_u(control c))
    strictest e_g = min_c e_g(c)

Documents are drawn again; the strictest control is found anew in every draw, so that the interval pays
for the choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, bootstrap, by_document


@dataclass(frozen=True)
class Resampling:
    """Draws, level and seed of the bootstrap over documents."""

    draws: int = DRAWS
    level: float = LEVEL
    seed: int = DEFAULT_SEED


USUAL = Resampling()


def mean_over(
    values: Float[ndarray, "unit ..."], doc: Int[ndarray, " unit"], how: Resampling
) -> Intervals:
    """The mean over the units where there is a value (NaN: none), with intervals over documents."""
    sums = _sums(values, doc)
    shape = values.shape[1:]
    return _shaped(bootstrap(sums, _ratio, draws=how.draws, level=how.level, seed=how.seed), shape)


def effect_over(
    values: Float[ndarray, "unit ..."],
    control: Float[ndarray, "unit ..."],
    doc: Int[ndarray, " unit"],
    how: Resampling,
) -> Intervals:
    """The mean difference over the units that have both."""
    return mean_over(values - control, doc, how)


def strictest(
    values: Float[ndarray, " unit"],
    controls: Mapping[str, Float[ndarray, " unit"]],
    doc: Int[ndarray, " unit"],
    how: Resampling,
) -> tuple[str | None, Estimate]:
    """The effect over the control that leaves the least of it, and that control's name.

    Controls without any unit are left out; with none left there is no effect.
    """
    differences = {name: values - other for name, other in controls.items()}
    differences = {name: d for name, d in differences.items() if not np.isnan(d).all()}
    if not differences:
        nan = float("nan")
        note = "no effect to judge: no unit was tried in any control"
        return None, Estimate(nan, nan, nan, how.level, how.draws, how.seed, 0, note)
    sums = _sums(np.stack(list(differences.values()), axis=1), doc)

    def least(s: Float[ndarray, "... m"]) -> Float[ndarray, "... 1"]:
        # fmin: in a draw where a control has no unit, the others decide.
        return np.fmin.reduce(_ratio(s), axis=-1, keepdims=True)

    interval = bootstrap(sums, least, draws=how.draws, level=how.level, seed=how.seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        name = list(differences)[int(np.nanargmin(_ratio(sums.sum(0))))]
    return name, interval[0]


def _sums(values: Float[ndarray, "unit ..."], doc: ndarray) -> Float[ndarray, "doc m2"]:
    """Per document, the sums of what is known and how many are known, side by side."""
    flat = values.reshape(len(values), -1)
    return by_document(np.concatenate([np.nan_to_num(flat), ~np.isnan(flat)], axis=1), doc)


def _ratio(s: Float[ndarray, "... m2"]) -> Float[ndarray, "... m"]:
    half = s.shape[-1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return s[..., :half] / s[..., half:]


def _shaped(flat: Intervals, shape: tuple[int, ...]) -> Intervals:
    return flat.map(lambda array: array.reshape(shape))
