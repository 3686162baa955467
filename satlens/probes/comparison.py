"""The probe beside every control, and what is left of its accuracy.

    excess(control) = balanced accuracy of the probe - mean over draws of that of the control

Controls on other states (untrained, rotated, exchanged) have their own rows: there the probe is fitted anew
on states cut to the same layers and the same number of states in every cell (`matched`), so that neither
the amount of data nor the layers differ. Every interval draws documents again, the same ones for the
probe and for all controls; the strictest control is the one with the smallest excess IN EACH draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.probes.collect import Collected
from satlens.probes.controls import DRAWN, NAMES, OTHER_STATES, SAME_ROWS, TokenProbe
from satlens.probes.crossval import document_folds, out_of_fold
from satlens.probes.probe import StageProbe
from satlens.probes.scores import UNKNOWN, Predictions, balanced_of, shares_of
from satlens.probes.states import StageStates, matched
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, finite

NOT_IN_VERDICT = ("control_task",)
"""Another task than the stage: reported as selectivity, not as an explanation of the accuracy."""


@dataclass(frozen=True, eq=False)
class Pairing:
    """Predictions of one control, draw by draw, and those of the probe they are held against."""

    probe: Predictions
    draws: Sequence[Predictions]


@dataclass(frozen=True)
class Control:
    """How far one control gets.

    Attributes:
        accuracy: balanced accuracy, the mean over draws. per_stage: the same of each stage.
        auc: area under the ROC curve, the mean over draws.
        values: balanced accuracy of each draw.
        excess: the probe's balanced accuracy above this one's.
        in_verdict: whether the verdict is taken against it.
    """

    accuracy: Estimate
    auc: float
    per_stage: Sequence[Estimate]
    values: Sequence[float]
    excess: Estimate
    in_verdict: bool

    @staticmethod
    def unavailable(stages: int) -> "Control":
        """No numbers; the reason is among the notes of the report."""
        return Control(UNKNOWN, np.nan, [UNKNOWN] * stages, [], UNKNOWN, False)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: accuracy, auc, per_stage, draws, values, excess, in_verdict."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "auc": finite(self.auc),
            "per_stage": [one.to_dict() for one in self.per_stage],
            "draws": len(self.values),
            "values": list(self.values),
            "excess": self.excess.to_dict(),
            "in_verdict": self.in_verdict,
        }


def run_controls(
    data: StageStates,
    collected: Collected,
    found: Predictions,
    fold: Int[ndarray, " n"],
    *,
    C: float = 1.0,
    draws: int = 3,
    min_states: int = 50,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> tuple[dict[str, Pairing], dict[str, str]]:
    """Fit and score every control; gives those that could be had, and why the others could not.

    Args:
        data: the balanced states of the probe; ``found``: its predictions; ``fold``: their folds.
        collected: all states of the model, and those of the controls made of other states.
    """
    pairings, missing = {}, dict(collected.missing)
    folds = int(fold.max()) + 1
    with tqdm(total=len(NAMES), desc="controls", disable=not progress) as bar:
        for number, name in enumerate(NAMES):
            try:
                if name in SAME_ROWS:
                    rng = [np.random.default_rng([seed, number, i]) for i in range(draws)]
                    rng = rng if name in DRAWN else rng[:1]
                    pairings[name] = _same_rows(name, data, found, fold, C, rng)
                elif name in collected.others:
                    parts = collected.others[name]
                    pairings[name] = _other_states(
                        collected.real, parts, data.stages, min_states, folds, C, seed
                    )
                else:
                    missing.setdefault(name, "No such states were collected.")
            except InputError as error:
                missing[name] = str(error)
            bar.update()
    return pairings, missing


def _same_rows(
    name: str, data: StageStates, found: Predictions, fold: Int[ndarray, " n"], C: float,
    generators: Sequence[np.random.Generator],
) -> Pairing:  # fmt: skip
    """Other inputs or labels for the rows of the probe."""
    probe = TokenProbe(C) if name == "identity" else StageProbe(C)
    drawn = []
    for rng in generators:
        X, y = SAME_ROWS[name](data, rng)
        drawn.append(out_of_fold(probe, X, y, data, fold))
    return Pairing(found, drawn)


def _other_states(
    real: StageStates, parts: Sequence[StageStates], stages: int | None, min_states: int, folds: int,
    C: float, seed: int,
) -> Pairing:  # fmt: skip
    """The probe on its own cut, and the same on the states of each draw; one and the same folds."""
    cuts = matched(real, *parts, stages=stages, min_states=min_states)
    doc, stage = (np.concatenate([getattr(cut, name) for cut in cuts]) for name in ("doc", "stage"))
    fold = np.split(document_folds(doc, stage, folds, seed), np.cumsum([len(c) for c in cuts])[:-1])
    probe, *drawn = (
        out_of_fold(StageProbe(C), cut.state, cut.stage, cut, own)
        for cut, own in zip(cuts, fold, strict=True)
    )
    return Pairing(probe, drawn)


def compare(
    pairings: Mapping[str, Pairing],
    stages: int,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> tuple[dict[str, Control], Estimate, str]:
    """Numbers of every control, the excess over the strictest in the verdict, and its name."""
    names = [name for name in NAMES if name in pairings]
    judged = [i for i, name in enumerate(names) if name not in NOT_IN_VERDICT]
    every = [one for name in names for one in (pairings[name].probe, *pairings[name].draws)]
    documents = np.unique(np.concatenate([one.doc for one in every]))
    sums = np.stack([one.sums(documents) for one in every], axis=1)
    sizes = [1 + len(pairings[name].draws) for name in names]
    ends = np.cumsum(sizes).tolist()

    def numbers(flat: Float[ndarray, "... all"]) -> Float[ndarray, "... q"]:
        s = flat.reshape(*flat.shape[:-1], *sums.shape[1:])
        columns = []
        for end, size in zip(ends, sizes, strict=True):
            balanced = balanced_of(s[..., end - size : end, :])
            control = balanced[..., 1:].mean(-1, keepdims=True)
            shares = shares_of(s[..., end - size + 1 : end, :]).mean(-2)
            columns += [balanced[..., :1] - control, control, shares]
        excess = np.concatenate([columns[3 * i] for i in judged], axis=-1)
        return np.concatenate([*columns, excess.min(-1, keepdims=True)], axis=-1)

    how: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    made = bootstrap(sums.reshape(len(documents), -1), numbers, **how)
    controls = {name: Control.unavailable(stages) for name in NAMES}
    width = 2 + stages
    for i, name in enumerate(names):
        at = i * width
        drawn = pairings[name].draws
        controls[name] = Control(
            accuracy=made[at + 1],
            auc=float(np.mean([one.auc() for one in drawn])),
            per_stage=[made[at + 2 + j] for j in range(stages)],
            values=[float(balanced_of(one.sums(documents).sum(0))) for one in drawn],
            excess=made[at],
            in_verdict=i in judged,
        )
    strictest = min((names[i] for i in judged), key=lambda name: controls[name].excess.value)
    return controls, made[len(names) * width], strictest


def path_nulls_there(pairings: Mapping[str, Pairing]) -> bool:
    """Whether at least one path null could be drawn: the controls that keep each token's way."""
    return any(name in pairings for name in OTHER_STATES if name != "untrained")
