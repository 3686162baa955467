"""Every policy with every lens on held-out documents, and what the papers say of them: `report`.

    training    thresholds of the sweep, exit classifiers, stage probe, linear shortcut
    held out    frontiers and verdicts; half of it chooses calibrated thresholds, the other half tests them

The verdicts are those of `satlens.exits.study.judging`. One split of the documents is one draw, which no
interval knows of: with more of them, what they do not agree on cannot be told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.exits.agreement import TOKENS, AgreementProbe, Agreements, Classifier
from satlens.exits.calibrate import Calibration, calibrate
from satlens.exits.cost import Costs
from satlens.exits.evaluate import evaluate
from satlens.exits.frontier import compare
from satlens.exits.policies import (
    FixedLayer,
    Patience,
    SoftmaxResponse,
    StageExit,
    StateSaturation,
)
from satlens.exits.policy import ThresholdPolicy
from satlens.exits.result import Evaluation
from satlens.exits.study.judging import (
    DECAYING,
    LOGIT,
    MARGIN,
    PER_LAYER,
    SHORTCUT,
    UNTRAINED,
    Study,
    judge,
)
from satlens.exits.sweep import POINTS, sweep
from satlens.lenses import Lens, LogitLens, ShortcutFitter
from satlens.lenses.documents import FIRST_OF, check_apart
from satlens.models import Batches, ResidualModel, untrained, wrap
from satlens.verdicts import agreed

DRAWS = 1000
EPSILONS = (0.05, 0.1, 0.2)

FitStage = Callable[[ResidualModel, Batches], StageExit]
"""Makes a stage exit of a probe (`satlens.StageProbe`) fitted on training documents."""


@dataclass(frozen=True, eq=False)
class ExitReport:
    """What every policy gives, by lens; and of an untrained model.

    Attributes:
        studies: "logit", "shortcut", and "untrained" (the logit lens on fresh weights), where available.
        shift: the decaying softmax response with states whose mean alone is put right.
        calibrations: thresholds of the policies with the logit lens, for each epsilon.
        tested: the held-out documents that chose no calibrated threshold.
        read: documents and tokens of the training and the held-out part.
        verdicts: those of the module. by_split: the same of each split, where there are several.
        notes: what a reader of the numbers must know.
    """

    studies: Mapping[str, Study]
    calibrations: Sequence[Calibration]
    tested: Evaluation | None
    shift: Evaluation | None
    read: Mapping[str, Mapping[str, int]]
    verdicts: Sequence[Mapping[str, Any]]
    by_split: Sequence[Sequence[Mapping[str, Any]]]
    notes: Sequence[str]
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: keys "split", "cost", "studies", "shift", "calibration",
        "verdicts", "by_split", "notes", "settings".
        """
        from satlens.exits.study.records import to_dict

        return to_dict(self)

    def to_frame(self):
        """A pandas frame, one row a (lens, policy, threshold), with intervals."""
        import pandas as pd

        how: dict[str, Any] = {"draws": self.settings["draws"], "seed": self.settings["seed"]}
        parts = [
            one.evaluation.table(intervals=True, **how).assign(study=name)
            for name, one in self.studies.items()
        ]
        return pd.concat(parts, ignore_index=True)


def report(
    model: Any,
    training: Any,
    held_out: Any,
    *,
    more_splits: Sequence[tuple[Any, Any]] = (),
    fit_stage: FitStage | None = None,
    points: int = POINTS,
    epsilons: Sequence[float] = EPSILONS,
    delta: float = 0.1,
    tokens: int = TOKENS,
    untrained_seeds: int = 1,
    cost: Costs | None = None,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    draws: int = DRAWS,
    margin: float = MARGIN,
    progress: bool = False,
) -> ExitReport:
    """All policies, with the logit lens and with linear shortcuts, on documents that nothing was fitted on.

    Args:
        model, batch_size, progress: as in `satlens.detect`.
        training, held_out: inputs, or `Batches`, that share no document.
        more_splits: more pairs of training and held-out inputs, for the verdicts alone. What not every split
            says cannot be told.
        fit_stage: makes a `StageExit` from a model and training `Batches`; without it there is no
            verdict on it.
        points: thresholds of each policy.
        epsilons, delta: of calibrated thresholds, as in `calibrate`; each epsilon by itself.
        tokens: of the exit classifier and of the sweep.
        untrained_seeds: 1, or 0 for no untrained model.
        cost: what things cost, for every lens alike; counted on the model if it is not given.
        margin: equivalence margin of the verdicts.
        draws: of the bootstrap over documents.

    Raises:
        InputError: unusable settings or inputs.

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> texts = list(read_corpus("bundled").documents)
        >>> found = report(satlens.load_model("tiny"), texts[:8], texts[8:12], points=3, tokens=500,
        ...                untrained_seeds=0, draws=20)
        >>> sorted(found.studies), [verdict["id"] for verdict in found.verdicts][-1]
        (['logit', 'shortcut'], 'shortcut_saves_layers_as_published')
    """
    _check(points, epsilons, delta, tokens, untrained_seeds, draws, margin)
    model = wrap(model)
    (training, held_out), *others = (
        _apart(model, *pair, batch_size) for pair in ((training, held_out), *more_splits)
    )
    settings = {"points": points, "epsilons": list(epsilons), "delta": delta, "tokens": tokens,
                "untrained_seeds": untrained_seeds, "seed": seed, "draws": draws, "margin": margin,
                "splits": 1 + len(others), "mean_length": mean_length(training)}  # fmt: skip
    maker = _Maker(training, held_out, settings, fit_stage, cost, progress)
    maker.both_lenses(model)
    if untrained_seeds:
        maker.untrained(model)
    first = maker.studies[LOGIT].evaluation
    calibrations, tested, why = _calibrated(first, epsilons, delta, seed)
    notes = [*maker.notes, *first.notes, *([why] if why else [])]
    read = {
        name: {"documents": part.n_documents, "tokens": part.n_tokens}
        for name, part in (("training", training), ("held_out", held_out))
    }
    notes += [FIRST_OF.format(settings["splits"])] if others else []
    by_split = [judge(maker.studies, maker.shifted, margin)]
    for number, parts in enumerate(others, start=2):
        own = settings | {"mean_length": mean_length(parts[0])}
        other = _Maker(*parts, own, fit_stage, cost, progress)
        other.both_lenses(model)
        notes += [f"Split {number}: {note}" for note in other.notes]
        by_split.append(judge(other.studies, other.shifted, margin))
    return ExitReport(
        maker.studies, calibrations, tested, maker.shifted, read,
        [agreed(same, "splits of the documents") for same in zip(*by_split, strict=True)],
        by_split, notes, settings,
    )  # fmt: skip


def _apart(
    model: ResidualModel, training: Any, held_out: Any, batch_size: int
) -> tuple[Batches, Batches]:
    """Both as batches that share no document."""
    first, second = (
        part if isinstance(part, Batches) else model.batches(part, batch_size)
        for part in (training, held_out)
    )
    check_apart(first, second)
    return first, second


def mean_length(batches: Batches) -> float:
    """Mean number of tokens of a document."""
    return batches.n_tokens / max(batches.n_documents, 1)


class _Maker:
    """Fits on the training documents, and evaluates on the others."""

    def __init__(
        self,
        training: Batches,
        held_out: Batches,
        settings: Mapping[str, Any],
        fit_stage: FitStage | None,
        cost: Costs | None,
        progress: bool,
    ) -> None:
        self.training, self.held_out, self.settings = training, held_out, settings
        self.fit_stage, self.cost, self.progress = fit_stage, cost, progress
        self.studies: dict[str, Study] = {}
        self.notes: list[str] = []
        self.stage: StageExit | None = None
        self.shifted: Evaluation | None = None

    def both_lenses(self, model: ResidualModel) -> None:
        """All policies with the logit lens, and with linear shortcuts: what the verdicts are of."""
        self.study(LOGIT, model, LogitLens(model))
        self.shortcut(model)

    def study(self, name: str, model: ResidualModel, lens: Lens) -> None:
        """All policies with one lens."""
        policies = self.policies(name, model, lens)
        swept = sweep(
            model, self.training, policies, n=self.settings["points"], lens=lens,
            tokens=self.settings["tokens"],
        )  # fmt: skip
        evaluation = self.evaluated(model, swept, lens)
        how: dict[str, Any] = {"draws": self.settings["draws"], "seed": self.settings["seed"]}
        with tqdm(total=3, desc=f"intervals, {name}", disable=not self.progress) as bar:
            made = []
            for quality, saving in (
                ("agreement", "compute_saved"), ("agreement", "layers_saved"),
                ("accuracy", "layers_saved"),
            ):  # fmt: skip
                made.append(compare(evaluation, quality=quality, saving=saving, **how))
                bar.update()
        self.studies[name] = Study(evaluation, *made)

    def evaluated(
        self, model: ResidualModel, policies: Sequence[ThresholdPolicy], lens: Lens
    ) -> Evaluation:
        """These policies on the held-out documents."""
        return evaluate(
            model, self.held_out, policies, lens=lens, cost=self.cost, progress=self.progress
        )

    def policies(self, name: str, model: ResidualModel, lens: Lens) -> list[ThresholdPolicy]:
        """Every policy at some threshold, fitted where it has to be."""
        read = Agreements.read(model, self.training, lens, self.settings["tokens"])
        pooled, per_layer = (AgreementProbe.of(read, per_layer=one) for one in (False, True))
        made: list[ThresholdPolicy] = [
            SoftmaxResponse(),
            SoftmaxResponse(mean_length=self.settings["mean_length"], name=DECAYING),
            StateSaturation(), Classifier(pooled), Classifier(per_layer, name=PER_LAYER), Patience(),
            FixedLayer(),
        ]  # fmt: skip
        if self.fit_stage is None:
            self.notes += ["No stage probe: none was asked for."] if name == LOGIT else []
            return made
        try:
            if name != SHORTCUT:  # stages are those of the model itself, whatever lens answers
                self.stage = None
                self.stage = self.fit_stage(model, self.training)
            return made if self.stage is None else [self.stage, *made]
        except InputError as error:
            self.notes.append(f"{name}: no stage probe. {_first_line(error)}")
            return made

    def shortcut(self, model: ResidualModel) -> None:
        """The same policies with linear shortcuts in place of the identity."""
        try:
            fitter = ShortcutFitter(model).fit(self.training)
            lens = fitter.shortcut()
        except (InputError, ModelError) as error:
            self.notes.append(f"No linear shortcut: {_first_line(error)}")
            return
        self.study(SHORTCUT, model, lens)
        decaying = SoftmaxResponse(mean_length=self.settings["mean_length"], name=DECAYING)
        shift, own = fitter.shift(), self.settings
        swept = sweep(
            model, self.training, decaying, lens=shift, n=own["points"], tokens=own["tokens"]
        )
        self.shifted = self.evaluated(model, swept, shift)

    def untrained(self, model: ResidualModel) -> None:
        """The same policies on fresh weights, fitted anew."""
        try:
            fresh = wrap(untrained(model, self.settings["seed"]))
            fresh = replace(fresh, name=f"{model.name} untrained")
            self.study(UNTRAINED, fresh, LogitLens(fresh))
        except (InputError, ModelError) as error:
            self.notes.append(f"No untrained model: {_first_line(error)}")


def _calibrated(
    evaluation: Evaluation, epsilons: Sequence[float], delta: float, seed: int
) -> tuple[list[Calibration], Evaluation | None, str]:
    """A threshold of every policy from one half of the documents; the other half, to test it."""
    documents = np.random.default_rng(seed).permutation(evaluation.doc)
    half = len(documents) // 2
    if half < 1:
        return [], None, "No threshold was calibrated: that takes two held-out documents."
    choosing, tested = evaluation.take(documents[:half]), evaluation.take(documents[half:])
    names = [name for name in evaluation.families if name != FixedLayer.name]
    made = [calibrate(choosing, name, e, delta, seed=seed) for name in names for e in epsilons]
    return made, tested, ""


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]


def _check(
    points: int, epsilons: Sequence[float], delta: float, tokens: int, untrained_seeds: int, draws: int,
    margin: float,
) -> None:  # fmt: skip
    """Everything cheap is refused before a forward pass is paid for."""
    least = {"points": (points, 2), "tokens": (tokens, 1), "draws": (draws, 1),
             "untrained_seeds": (untrained_seeds, 0)}  # fmt: skip
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name} must be a whole number of at least {low}, got {value!r}.")
    for name, value in (*(("epsilons", one) for one in epsilons), ("delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"{name} must lie between 0 and 1, got {value}.")
    if not margin > 0:
        raise InputError(f"margin must be above 0, got {margin}.")
