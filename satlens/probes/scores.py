"""How well stages were told apart: balanced accuracy and what goes with it, with intervals over documents.

With c_i the states of stage i that are given stage i, and n_i all of them, over the states of a document or
of many,

    accuracy_i = c_i / n_i,        balanced accuracy = mean over stages of accuracy_i,        chance = 1 / m

so that the sums (c_1 .. c_m, n_1 .. n_m) of each document are all a bootstrap over documents needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.metrics import roc_auc_score

from satlens.conventions import DEFAULT_SEED
from satlens.probes.probe import normalised
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, finite

UNKNOWN = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for states that the probe had not seen, beside what they are.

    Attributes:
        stage, predicted: ``[n]`` 1 .. m, true and predicted.
        score: ``[n, m]`` one-vs-rest scores of the stages.
        layer, doc: ``[n]`` where the states are from.
        notes: what the solvers complained of.
    """

    stage: Int[ndarray, " n"]
    predicted: Int[ndarray, " n"]
    score: Float[ndarray, "n m"]
    layer: Int[ndarray, " n"]
    doc: Int[ndarray, " n"]
    notes: Sequence[str] = ()

    @property
    def stages(self) -> int:
        """Number of stages m."""
        return self.score.shape[1]

    def auc(self) -> float:
        """Area under the ROC curve, each stage against the rest, averaged over the stages."""
        share = normalised(self.score)
        areas = [
            roc_auc_score(self.stage == i + 1, share[:, i])
            for i in range(self.stages)
            if 0 < (self.stage == i + 1).sum() < len(self.stage)
        ]
        return float(np.mean(areas)) if areas else np.nan

    def confusion(self) -> Float[ndarray, "true predicted"]:
        """Row i: of the states of stage i, the share given each stage."""
        counts = np.zeros((self.stages, self.stages))
        np.add.at(counts, (self.stage - 1, self.predicted - 1), 1)
        return counts / np.maximum(counts.sum(1, keepdims=True), 1)

    def sums(self, documents: Int[ndarray, " doc"]) -> Float[ndarray, "doc {2*self.stages}"]:
        """``c_1 .. c_m, n_1 .. n_m`` of each document (of a sorted list that holds them all)."""
        return _sums(self, np.ones(len(self.stage), dtype=bool), documents)


def _sums(
    found: Predictions, rows: Bool[ndarray, " n"], documents: Int[ndarray, " doc"]
) -> Float[ndarray, "doc {2*found.stages}"]:
    m = found.stages
    sums = np.zeros((len(documents), 2 * m))
    at, stage = np.searchsorted(documents, found.doc[rows]), found.stage[rows] - 1
    np.add.at(sums, (at, stage), found.predicted[rows] - 1 == stage)
    np.add.at(sums, (at, m + stage), 1)
    return sums


def shares_of(sums: Float[ndarray, "*draw two_m"]) -> Float[ndarray, "*draw two_m//2"]:
    """Accuracy of each stage; NaN where there is no state of it."""
    m = sums.shape[-1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., :m] / sums[..., m:]


def balanced_of(sums: Float[ndarray, "*draw two_m"]) -> Float[ndarray, "*draw"]:
    """Balanced accuracy, over the stages that there are.

    >>> float(balanced_of(np.array([1.0, 3.0, 2.0, 4.0])))
    0.625
    """
    shares = shares_of(sums)
    there = ~np.isnan(shares)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(there, shares, 0).sum(-1) / there.sum(-1))


@dataclass(frozen=True)
class LayerAccuracy:
    """Balanced accuracy of the states of one layer."""

    layer: int
    accuracy: Estimate
    states: int

    def to_dict(self) -> dict[str, Any]:
        """``{"layer": l, "accuracy": estimate, "states": n}``."""
        return {"layer": self.layer, "accuracy": self.accuracy.to_dict(), "states": self.states}


@dataclass(frozen=True, eq=False)
class Probed:
    """How well a probe tells stages apart on documents it was not trained on.

    Intervals draw the documents again, not the training: they say how much the number hangs on which
    documents were read, for probes like these.

    Attributes:
        accuracy: balanced accuracy over all states.
        auc: area under the ROC curve, one stage against the rest, averaged.
        per_stage: accuracy of each stage.
        confusion: ``[true, predicted]`` shares, rows sum to 1.
        layers: balanced accuracy by layer.
        predictions: what was predicted for every state; None where there is none.
        settings: what made the numbers.
        notes: what the solvers complained of.
    """

    accuracy: Estimate
    auc: float
    per_stage: Sequence[Estimate]
    confusion: Float[ndarray, "true predicted"]
    layers: Sequence[LayerAccuracy]
    predictions: Predictions | None = field(default=None, repr=False)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def chance(self) -> float:
        """1 / m: what guessing gives."""
        return 1 / len(self.per_stage)

    @staticmethod
    def of(
        found: Predictions, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED,
        settings: dict[str, Any] | None = None,
    ) -> "Probed":  # fmt: skip
        """The numbers of some predictions."""
        documents = np.unique(found.doc)
        layers = np.unique(found.layer)
        how: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
        whole = bootstrap(
            found.sums(documents),
            lambda s: np.concatenate([balanced_of(s)[..., None], shares_of(s)], axis=-1),
            **how,
        )
        parts = np.stack([_sums(found, found.layer == one, documents) for one in layers], axis=1)
        shape = parts.shape[1:]
        by_layer = bootstrap(
            parts.reshape(len(documents), -1),
            lambda s: balanced_of(s.reshape(*s.shape[:-1], *shape)),
            **how,
        )
        return Probed(
            accuracy=whole[0],
            auc=found.auc(),
            per_stage=[whole[i + 1] for i in range(found.stages)],
            confusion=found.confusion(),
            layers=[
                LayerAccuracy(int(one), by_layer[i], int((found.layer == one).sum()))
                for i, one in enumerate(layers)
            ],
            predictions=found,
            settings={**(settings or {}), **how},
            notes=tuple(found.notes),
        )

    @staticmethod
    def unavailable(stages: int, note: str) -> "Probed":
        """No numbers, and why."""
        return Probed(UNKNOWN, np.nan, [UNKNOWN] * stages, np.zeros((0, 0)), [], notes=(note,))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: accuracy, auc, per_stage, confusion, layers."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "auc": finite(self.auc),
            "per_stage": [one.to_dict() for one in self.per_stage],
            "confusion": self.confusion.tolist(),
            "layers": [one.to_dict() for one in self.layers],
        }
