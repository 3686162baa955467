"""The same training under many rates and seeds: `sweep_rates`, and one table of what came out.

A seed draws weights and sequences, which are the same under every rate; so seeds are the units of every
interval, and rates are compared within a seed. Of each run, with c the attention, D the distinct tokens of a
class (from the rarest on) and C the common ones:

    common_start, common_end      sum of c over C
    entropy_start, entropy_end    of c, in nats
    top                           c of the most attended token at the end
    common_logit, rarest_logit    change of Z, mean over C; and its least value over D
    growth                        of all pairs in D, share in which the more frequent one's Z rose more
    dropped                       of all pairs in D, share in which attention left the rarer one first
                                  (`Training.left`: of the attention on D, its share fell). Ties count half;
                                  pairs of which neither was left do not count (NaN where none does)
    left_rare, left_frequent      share of the rarer and the more frequent half of D that attention left
    freeze                        `freeze_step` of the speed of Z; infinite: not seen to freeze
    common_freeze                 sum of c over C at that step (NaN: not seen to freeze); entropy_freeze alike
    after                         share of the way of Z (the sum of its speeds) that came after the freeze
    loss_end                      nats, the last step's batch
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from tqdm import tqdm

from satlens.errors import InputError
from satlens.files import write_whole
from satlens.resampling import Estimate, bootstrap
from satlens.theory.dynamics.freeze import SHARE, freeze_step
from satlens.theory.dynamics.one_layer import Training, train_one_layer
from satlens.theory.dynamics.sequences import Sequences

FORM = "satlens.rate_sweep/1"
CURVE_POINTS = 40
SEEDS = tuple(range(20))


@dataclass(frozen=True, eq=False)
class RateSweep:
    """What came out under each rate, by seed.

    Attributes:
        rates: ``[rate, 2]`` eta_Z and eta_Y / eta_Z.
        values: by name (see the module), ``[seed, rate]``.
        curves: "entropy", "common", "rare" and "frequent" (the mass on the rarer and on the more frequent
            half of the distinct tokens) and "speed", each ``[rate, point]``, means over seeds.
        at: the steps of the points.
        settings: what made it.
    """

    rates: Float[ndarray, "rate 2"]
    values: dict[str, Float[ndarray, "seed rate"]]
    curves: dict[str, Float[ndarray, "rate point"]]
    at: Int[ndarray, " point"]
    settings: dict[str, Any]

    def estimate(self, name: str, rate: int) -> Estimate:
        """The mean of a value over seeds, and its interval over them."""
        return over_seeds(self.values[name][:, rate])

    def to_frame(self):
        """A pandas frame, one row a pair of rates: eta_z, ratio, and each value with _low and _high."""
        import pandas as pd

        rows = []
        for rate, (eta_z, ratio) in enumerate(self.rates.tolist()):
            row = {"eta_z": eta_z, "ratio": ratio}
            for name in self.values:
                one = self.estimate(name, rate)
                row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def save(self, path: str | Path) -> None:
        """Write one JSON file, complete or not at all. Raises OutputError."""
        said = {
            "form": FORM, "settings": self.settings, "rates": self.rates.tolist(),
            "at": self.at.tolist(),
            "values": {name: _plain(values) for name, values in self.values.items()},
            "curves": {name: _plain(values) for name, values in self.curves.items()},
        }  # fmt: skip
        write_whole(path, json.dumps(said) + "\n")

    @staticmethod
    def load(path: str | Path) -> "RateSweep":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or a file of another kind.
        """
        try:
            said = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"Cannot read {path} ({error}); give what RateSweep.save wrote."
            ) from error
        if not isinstance(said, dict) or said.get("form") != FORM:
            raise InputError(f"{path} holds no sweep of rates: give what RateSweep.save wrote.")
        try:
            values, curves = ({name: np.array(rows, dtype=float) for name, rows in said[part].items()}
                              for part in ("values", "curves"))  # fmt: skip
            values["freeze"][np.isnan(values["freeze"])] = np.inf
            rates, at = np.array(said["rates"]), np.array(said["at"])
            return RateSweep(rates, values, curves, at, said["settings"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} was changed after it was written ({error!r}): sweep again."
            ) from error


def sweep_rates(
    sequences: Sequences,
    eta_z: Sequence[float] = (0.5, 1.0, 2.0, 3.0),
    ratios: Sequence[float] = (1.0, 2.0, 5.0, 10.0),
    *,
    seeds: Sequence[int] = SEEDS,
    share: float = SHARE,
    progress: bool = False,
    **training: Any,
) -> RateSweep:
    """Train under every eta_Z with every ratio eta_Y / eta_Z, for several seeds.

    Args:
        eta_z, ratios: the published ones unless given.
        share: of `freeze_step`.
        training: of `train_one_layer`: steps, batch, momentum, start.

    Raises:
        InputError: unusable settings, or seeds that are none or repeated.

    Example:
        >>> found = sweep_rates(Sequences(), (1.0,), (1.0, 5.0), seeds=(0, 1), steps=10)
        >>> found.values["entropy_end"].shape
        (2, 2)
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds must be different numbers, one or more; got {seeds}.")
    rates = [(float(z), float(ratio)) for z in eta_z for ratio in ratios]
    found, curves, at = [], [], np.zeros(0, dtype=int)
    tried, how = np.zeros((0, 2)), dict[str, Any]()
    for seed in tqdm(seeds, desc="seeds", disable=not progress):
        one = train_one_layer(sequences, rates, seed=seed, **training)
        found.append(run_values(one, sequences, share))
        at, tried, how = curve_points(one.loss.shape[1]), one.rates, dict(one.settings)
        curves.append(run_curves(one, sequences, at))
    settings = {name: value for name, value in how.items() if name != "seed"}
    return RateSweep(
        tried,
        {name: np.stack([values[name] for values in found]) for name in found[0]},
        {name: np.mean([curve[name] for curve in curves], axis=0) for name in curves[0]},
        at,
        {**settings, "seeds": seeds, "share": share},
    )


def run_values(
    one: Training, sequences: Sequences, share: float = SHARE
) -> dict[str, Float[ndarray, " rate"]]:
    """The numbers of the module's table, of one training."""
    common, steps = sequences.common, one.loss.shape[1]
    change = one.logit[:, -1]
    freeze = freeze_step(one.speed, share)
    late = np.arange(steps) >= freeze[:, None]
    way = one.speed.sum(1)
    left, half = one.left, sequences.distinct // 2
    known = np.isfinite(freeze)
    at = (np.arange(len(freeze)), np.where(known, freeze, 0).astype(int))
    return {
        "common_start": one.mass[:, 0, :common].sum(1),
        "common_end": one.mass[:, -1, :common].sum(1),
        "entropy_start": one.entropy[:, 0],
        "entropy_end": one.entropy[:, -1],
        "top": one.top,
        "common_logit": change[:, :common].mean(1),
        "rarest_logit": change[:, common:].min(1),
        "growth": in_order(change[:, common:]),
        "dropped": dropped(left, steps),
        "left_rare": (left[..., :half] < steps).mean((1, 2)),
        "left_frequent": (left[..., half:] < steps).mean((1, 2)),
        "freeze": freeze,
        "common_freeze": np.where(known, one.mass[..., :common].sum(-1)[at], np.nan),
        "entropy_freeze": np.where(known, one.entropy[at], np.nan),
        "after": np.divide((one.speed * late).sum(1), way, out=np.zeros_like(way), where=way > 0),
        "loss_end": one.loss[:, -1],
    }


def in_order(values: Float[ndarray, "rate token"]) -> Float[ndarray, " rate"]:
    """The share of pairs in which the later token has the larger value; ties count half.

    >>> in_order(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 2.0]])).round(3).tolist()
    [1.0, 0.167]
    """
    first, second = np.triu_indices(values.shape[1], 1)
    if not len(first):
        return np.full(len(values), np.nan)
    return ((np.sign(values[:, second] - values[:, first]) + 1) / 2).mean(1)


def dropped(left: Int[ndarray, "rate n token"], steps: int) -> Float[ndarray, " rate"]:
    """The share of pairs in which attention left the earlier token first; see the module.

    >>> dropped(np.array([[[1, 4, 9, 9]], [[9, 9, 9, 9]]]), 9).tolist()
    [1.0, nan]
    """
    first, second = np.triu_indices(left.shape[-1], 1)
    one, two = left[..., first], left[..., second]
    known = (one < steps) | (two < steps)
    share = (np.sign(two - one) + 1) / 2
    number = known.sum((1, 2))
    total = (share * known).sum((1, 2))
    return np.divide(total, number, out=np.full(len(left), np.nan), where=number > 0)


def curve_points(steps: int) -> Int[ndarray, " point"]:
    """Steps at which curves are kept: 0, and then evenly on a logarithmic scale up to the last."""
    return np.unique(np.concatenate([[0], np.geomspace(1, steps, CURVE_POINTS).round()])).astype(
        int
    )


def run_curves(
    one: Training, sequences: Sequences, at: Int[ndarray, " point"]
) -> dict[str, Float[ndarray, "rate point"]]:
    """The curves of one training at these steps; the speed is that of the update that led there."""
    common, middle = sequences.common, sequences.common + sequences.distinct // 2
    mass = one.mass[:, at]
    return {
        "entropy": one.entropy[:, at],
        "common": mass[..., :common].sum(-1),
        "rare": mass[..., common:middle].sum(-1),
        "frequent": mass[..., middle:].sum(-1),
        "speed": one.speed[:, np.maximum(at - 1, 0)],
    }


def over_seeds(values: Float[ndarray, " seed"]) -> Estimate:
    """The mean, and its interval when seeds are drawn again; seeds with NaN are left out."""
    known = values[~np.isnan(values)]
    if not len(known) or np.isinf(known).any():
        note = "no interval: no seed has a value" if not len(known) else "a seed did not freeze"
        value = np.nan if not len(known) else np.inf
        return Estimate(value, np.nan, np.nan, documents=len(known), note=note)
    sums = np.column_stack([known, np.ones(len(known))])
    return bootstrap(sums, lambda s: s[..., :1] / s[..., 1:])[0]


def _plain(values: ndarray) -> list[Any]:
    """Lists of any nesting, five digits, None where not finite."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values.tolist()]
