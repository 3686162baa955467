"""Is the stage in the residual stream, beyond what else would explain it? `report`.

    effect = min over controls of (accuracy of the probe - accuracy of the control)

with the minimum taken anew in every bootstrap draw over documents; the verdict by `satlens.verdicts`.
Beside it stands the verdict as published: against scalar Gaussian noise alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import Batches, wrap
from satlens.probes.collect import Collected, collect
from satlens.probes.comparison import (
    NOT_IN_VERDICT,
    Control,
    compare,
    path_nulls_there,
    run_controls,
)
from satlens.probes.controls import NAMES
from satlens.probes.crossval import FOLDS, document_folds, out_of_fold
from satlens.probes.probe import StageProbe
from satlens.probes.sampling import PER_CELL
from satlens.probes.scores import Probed
from satlens.probes.stages import Policy
from satlens.probes.states import MIN_STATES, StageStates
from satlens.resampling import DRAWS, LEVEL, Estimate, finite
from satlens.verdicts import AS_PUBLISHED, HOLDS, UNKNOWN, rule

MARGIN = 0.02
"""Equivalence margin of the verdict: 2 of 100 states, in balanced accuracy."""


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """How well stages are decoded, what the controls reach, and the verdict.

    Attributes:
        data: the balanced states (their counts: ``data.to_dict()``).
        pooled: one probe over all layers, cross-validated. per_layer: one probe a layer.
        controls: by name, in the order of `satlens.probes.controls.NAMES`.
        strictest: the name of the control with the smallest excess; effect: that excess.
        probe: the `StageProbe` fitted on all balanced states, ready to save.
        notes: controls that could not be had, and why; what solvers complained of.
    """

    data: StageStates = field(repr=False)
    pooled: Probed
    per_layer: Probed
    controls: Mapping[str, Control]
    effect: Estimate
    strictest: str
    verdicts: Sequence[dict[str, Any]]
    probe: StageProbe
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    @property
    def selectivity(self) -> Estimate:
        """Accuracy above that of the control task (Hewitt and Liang 2019)."""
        return self.controls["control_task"].excess

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: labels, probe, per_layer, controls, selectivity, verdicts, settings, notes."""
        return {
            "labels": self.data.to_dict(),
            "probe": self.pooled.to_dict(),
            "per_layer": self.per_layer.to_dict(),
            "controls": {name: one.to_dict() for name, one in self.controls.items()},
            "selectivity": self.selectivity.to_dict(),
            "verdicts": [dict(one) for one in self.verdicts],
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }


def report(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    stages: int | None = None,
    per_cell: int = PER_CELL,
    min_states: int = MIN_STATES,
    folds: int = FOLDS,
    draws: int = 3,
    untrained_seeds: int = 1,
    C: float = 1.0,
    out_of_order: str = "running_max",
    ties: str = "skip",
    censored: str = "keep",
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    margin: float = MARGIN,
    progress: bool = False,
) -> ProbeReport:
    """Can the stage be read off the residual stream, and is it the stage that is read?

    One pass over the inputs with the model, one with each untrained model; then the probe and nine
    controls, all in the same folds by document.

    Args:
        model, inputs, k, batch_size, progress: as in `satlens.detect`; inputs may be `Batches`.
        stages: m, stages 1 .. m are told apart; without it, as many as some layer can fill.
        per_cell: states kept of each stage at each layer.
        min_states: a layer is used if it has this many of its rarest stage.
        folds: parts of the documents.
        draws: of every control that holds chance.
        untrained_seeds: how many untrained models are read.
        C: inverse penalty of the probe.
        out_of_order, ties, censored: see `satlens.probes.stage_labels`.
        margin: an accuracy this much above the strictest control is too small to speak of.

    Raises:
        InputError: unusable settings, or too few documents, stages or states (with the counts).

    Source: Lioubashevski et al. 2025, section 4; the controls beside "gaussian" are ours and
    Hewitt and Liang's (2019).

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> texts = list(read_corpus("bundled").documents)[:8]
        >>> found = satlens.probes.report(
        ...     satlens.load_model("tiny"), texts, k=2, per_cell=30, min_states=20, draws=1, folds=3
        ... )
        >>> found.pooled.chance, found.strictest in found.controls
        (0.5, True)
    """
    policy = Policy(out_of_order, ties, censored).to_dict()
    _check(k, stages, per_cell, min_states, folds, draws, untrained_seeds, C, margin)
    model = wrap(model)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    _check_documents(getattr(batches, "n_documents", None), folds)
    collected = collect(
        model, batches, k=k, per_cell=per_cell, draws=draws, untrained_seeds=untrained_seeds,
        seed=seed, progress=progress, **policy,
    )  # fmt: skip
    return evaluate(
        collected, stages=stages, min_states=min_states, folds=folds, draws=draws, C=C, seed=seed,
        margin=margin, progress=progress,
        settings={
            "model": model.name, "k": k, "per_cell": per_cell, "untrained_seeds": untrained_seeds,
            **policy,
        },
    )  # fmt: skip


def evaluate(
    collected: Collected,
    *,
    stages: int | None = None,
    min_states: int = MIN_STATES,
    folds: int = FOLDS,
    draws: int = 3,
    C: float = 1.0,
    seed: int = DEFAULT_SEED,
    margin: float = MARGIN,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> ProbeReport:
    """`report` from states at hand (see `satlens.probes.collect.StateCollector`)."""
    data = collected.real.balanced(stages, min_states)
    m = cast(int, data.stages)
    fold = document_folds(data.doc, data.stage, folds, seed)
    found = out_of_fold(StageProbe(C), data.state, data.stage, data, fold)
    pooled = Probed.of(found, seed=seed)
    per_layer = _per_layer(data, fold, C, seed)
    pairings, missing = run_controls(
        data, collected, found, fold, C=C, draws=draws, min_states=min_states, seed=seed,
        progress=progress,
    )  # fmt: skip
    controls, effect, strictest = compare(pairings, m, seed=seed)
    verdicts = _verdicts(controls, effect, strictest, missing, path_nulls_there(pairings), margin)
    probe = StageProbe(C).fit(data.state, data.stage, data.layer)
    notes = [f"{name}: not available. {_first_line(why)}" for name, why in missing.items()]
    notes += [f"probe, {note}" for note in pooled.notes]
    notes += [f"per_layer, {note}" for note in per_layer.notes]
    return ProbeReport(
        data=data, pooled=pooled, per_layer=per_layer, controls=controls, effect=effect,
        strictest=strictest, verdicts=verdicts, probe=probe, notes=notes,
        settings={
            **(settings or {}), "stages": data.stages, "min_states": min_states, "folds": folds,
            "draws": draws, "C": C, "seed": seed, "margin": margin, "bootstrap_draws": DRAWS,
            "level": LEVEL,
        },
    )  # fmt: skip


def _per_layer(data: StageStates, fold: Any, C: float, seed: int) -> Probed:
    """One probe a layer; no reason to lose all the rest if some layer is too thin for it."""
    try:
        found = out_of_fold(StageProbe(C, per_layer=True), data.state, data.stage, data, fold)
    except InputError as error:
        return Probed.unavailable(
            cast(int, data.stages), f"not available. {_first_line(str(error))}"
        )
    return Probed.of(found, seed=seed)


def _verdicts(
    controls: Mapping[str, Control], effect: Estimate, strictest: str, missing: Mapping[str, str],
    has_paths: bool, margin: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """Against the strictest control, and against the paper's alone."""
    span = f"the accuracy above the strictest control ({strictest})"
    word, why = rule(effect, margin, span)
    if not has_paths:
        word, why = UNKNOWN, "No path null could be drawn, so nothing says what converging gives."
    lacking = [name for name in NAMES if name in missing and name not in NOT_IN_VERDICT]
    if lacking:
        why += f" Not compared with: {', '.join(lacking)} (see the notes)."
    gaussian = controls["gaussian"].excess
    published, published_why = rule(gaussian, margin, "the accuracy above scalar Gaussian noise")
    if published == HOLDS and word != HOLDS:
        published = AS_PUBLISHED
        published_why += " The noise lacks all that a state consists of; the other controls do not."
    return [
        {
            "id": "stage_decodable",
            "statement": "A linear probe reads the stage off the residual state, beyond every control.",
            "verdict": word,
            "effect": {"name": "balanced accuracy above the strictest control", **effect.to_dict()},
            "p": finite(effect.p) if has_paths else None,
            "why": why,
            "null": strictest,
        },
        {
            "id": "stage_decodable_as_published",
            "statement": "A linear probe reads the stage off the residual state better than off noise "
            "of the same scalar mean and spread.",
            "verdict": published,
            "effect": {"name": "balanced accuracy above the noise", **gaussian.to_dict()},
            "p": finite(gaussian.p),
            "why": published_why,
            "null": "gaussian",
        },
    ]


def _first_line(text: str) -> str:
    return text.split("\n")[0]


def _check(
    k: int, stages: int | None, per_cell: int, min_states: int, folds: int, draws: int,
    untrained_seeds: int, C: float, margin: float,
) -> None:  # fmt: skip
    """Everything cheap is refused before a forward pass is paid for."""
    least = {"k": (k, 2), "per_cell": (per_cell, 1), "min_states": (min_states, 1),
             "folds": (folds, 2), "draws": (draws, 1), "untrained_seeds": (untrained_seeds, 0)}  # fmt: skip
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name} must be a whole number of at least {low}, got {value!r}.")
    if stages is not None and not 2 <= stages <= k:
        raise InputError(
            f"stages must be 2 to k={k}, got {stages}: two are needed to tell apart, and each stage "
            "ends with a rank that is followed."
        )
    if per_cell < min_states:
        raise InputError(
            f"per_cell={per_cell} keeps fewer states of a stage than min_states={min_states} asks for: "
            "no layer could be used. Raise per_cell or lower min_states."
        )
    for name, value in (("C", C), ("margin", margin)):
        if not value > 0:
            raise InputError(f"{name} must be above 0, got {value}.")


def _check_documents(documents: int | None, folds: int) -> None:
    if documents is not None and documents < folds:
        raise InputError(
            f"{folds} folds need at least {folds} documents, since no document is on both sides; the "
            f"inputs are {documents}. Give more documents, or lower folds."
        )
