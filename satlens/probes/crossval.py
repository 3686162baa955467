"""Cross-validation in which no document is on both sides: states of one document are never independent.

    folds       documents dealt into F parts of like stages         (StratifiedGroupKFold)
    prediction  for every state, by the probe fitted on the documents of the other parts

States of one token at neighbouring layers are nearly the same state: a split over rows would test on what
it trained on.
"""

from typing import Any, cast

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.probes.probe import StageProbe
from satlens.probes.scores import Predictions, Probed
from satlens.probes.states import StageStates
from satlens.resampling import DRAWS, LEVEL

FOLDS = 5


def cross_validate(
    data: StageStates,
    probe: StageProbe | None = None,
    *,
    folds: int = FOLDS,
    seed: int = DEFAULT_SEED,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Probed:
    """How well a probe tells the stages apart in documents that it was not trained on.

    Args:
        data: labelled states, usually balanced (`StageStates.balanced`).
        probe: what is fitted, anew for every fold; a `StageProbe` by default.
        folds: parts of the documents.
        seed: of the folds and of the bootstrap.
        draws, level: of the interval over documents.

    Raises:
        InputError: fewer than two stages, fewer documents than folds, a stage with fewer states
            than folds, or a fold whose training part lacks a stage; with what was found.

    Source: Lioubashevski et al. 2025, section 4, with folds by document in place of rows.

    Example:
        >>> import satlens
        >>> from satlens.probes import StageSampler, cross_validate
        >>> from satlens.saturation.detect import stream
        >>> sampler = StageSampler(per_cell=50)
        >>> stories = ["Lily had a red ball.", "The dog ran to the park.", "Tom saw a big cat."]
        >>> for states, events in stream(satlens.load_model("tiny"), stories, k=2):
        ...     sampler.update(states.resid, events)
        >>> found = cross_validate(sampler.finish().balanced(2, min_states=2), folds=2)
        >>> 0 <= found.accuracy.value <= 1, found.chance
        (True, 0.5)
    """
    probe = StageProbe() if probe is None else probe
    fold = document_folds(data.doc, data.stage, folds, seed)
    found = out_of_fold(probe, data.state, data.stage, data, fold)
    settings = {"folds": folds, **probe.get_params()}
    return Probed.of(found, draws=draws, level=level, seed=seed, settings=settings)


def document_folds(
    doc: Int[ndarray, " n"], stage: Int[ndarray, " n"], folds: int = FOLDS, seed: int = DEFAULT_SEED
) -> Int[ndarray, " n"]:
    """The fold, 0 .. folds - 1, of every state; one and the same for all states of a document.

    Raises:
        InputError: see `cross_validate`.
    """
    if folds < 2:
        raise InputError(
            f"folds must be at least 2, got {folds}: some part must be left to test on."
        )
    documents = len(np.unique(doc))
    if documents < folds:
        raise InputError(
            f"{folds} folds need at least {folds} documents, since no document is on both sides; the "
            f"states are of {documents}. Give more documents, or lower folds."
        )
    stages, counts = np.unique(stage, return_counts=True)
    if len(stages) < 2:
        raise InputError(
            f"Cross-validation needs states of two stages or more; found {len(stage)} states, all of "
            f"stage {stages[0]}. Give states of other stages, or more text."
        )
    if counts.min() < folds:
        raise InputError(
            f"Stage {stages[counts.argmin()]} has {counts.min()} states, fewer than the {folds} folds. "
            "Give more text, ask for fewer stages, or lower folds."
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(doc), dtype=int)
    for number, (_, test) in enumerate(splitter.split(stage, stage, doc)):
        fold[test] = number
    return fold


def out_of_fold(
    probe: Any, X: Any, y: Int[ndarray, " n"], data: StageStates, fold: Int[ndarray, " n"]
) -> Predictions:
    """Predictions for every row of X by probes that saw none of its fold; y are stages 1 .. m.

    Args:
        probe: cloned and fitted for each fold: ``fit(X, y, layer)``, ``decision_function(X, layer)``.
        X: what is read, one row a state: the states themselves, or what a control puts there.
        data: layers and documents of the rows.

    Raises:
        InputError: a training part lacks a stage (with per_layer, at some layer).
    """
    m = int(y.max()) if data.stages is None else data.stages
    per_layer = bool(probe.get_params().get("per_layer", False))
    scores = np.empty((len(y), m), np.float32)
    notes: list[str] = []
    for number in np.unique(fold).tolist():
        test = fold == number
        train = ~test
        _check_training(number, y[train], data.layer[train], data.doc[train], m, per_layer)
        fitted = cast(Any, clone(probe)).fit(X[train], y[train], data.layer[train])
        scores[test] = fitted.decision_function(X[test], data.layer[test])
        notes += [f"fold {number + 1}, {note}" for note in getattr(fitted, "notes_", [])]
    predicted = scores.argmax(1) + 1
    return Predictions(np.array(y), predicted, scores, data.layer.copy(), data.doc.copy(), notes)


def _check_training(
    number: int, y: Int[ndarray, " n"], layer: Int[ndarray, " n"], doc: Int[ndarray, " n"], m: int,
    per_layer: bool,
) -> None:  # fmt: skip
    """Every stage must be there to learn from; with one probe a layer, at every layer."""
    for own in np.unique(layer).tolist() if per_layer else [None]:
        rows = slice(None) if own is None else layer == own
        counts = np.bincount(y[rows], minlength=m + 1)[1:]
        if (counts == 0).any():
            where = "" if own is None else f" at layer {own}"
            raise InputError(
                f"The training part of fold {number + 1} has no state of stage {counts.argmin() + 1}"
                f"{where}: it holds {int(counts.sum())} states of {len(np.unique(doc[rows]))} documents, "
                f"by stage {counts.tolist()}. Give more documents, ask for fewer stages, or lower folds."
            )
