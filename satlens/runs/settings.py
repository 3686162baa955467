"""What a run is asked to do: one record a verb, which repeats the run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.exits.agreement import TOKENS
from satlens.exits.study.report import EPSILONS
from satlens.exits.sweep import POINTS
from satlens.lenses.documents import SPLITS
from satlens.models.protocol import READS
from satlens.nulls.draws import NULL_DRAWS
from satlens.patching.patch import LIMIT
from satlens.patching.steer import ALPHAS
from satlens.probes import Policy
from satlens.probes.crossval import FOLDS
from satlens.probes.sampling import PER_CELL
from satlens.probes.states import MIN_STATES
from satlens.reranking.adjusted import SHUFFLES
from satlens.reranking.collect import NULL_TOKENS
from satlens.routing.study import PENALTIES, RATE, STEPS, TRAIN_SEEDS
from satlens.runs.values import fits, fitted, in_words
from satlens.survey.corpus import BUNDLED, SEPARATOR
from satlens.theory.depth.summary import NULL_DRAWS as DEPTH_DRAWS
from satlens.theory.tracking.track import NULL_TOKENS as TRACK_TOKENS

S = TypeVar("S", bound="RunSettings")
"""In place of `typing.Self`, which tools that check shapes at run time do not know in a method alone."""


@dataclass(frozen=True)
class RunSettings:
    """What every verb reads. ``settings.yaml`` holds it, with what the verb adds.

    Attributes:
        model: "tiny", a Hugging Face name, a folder, or FILE.py:FUNCTION.
        corpus: "bundled", or a file or folder of what the model reads (`satlens.runs.corpora`).
        k: ranks to follow; an order, and a next stage, need two.
        max_tokens: whole windows are read, in order, until this many tokens are reached.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
    """

    verb: ClassVar[str]
    least: ClassVar[dict[str, int]] = {}
    takes: ClassVar[tuple[str, ...]] = tuple(READS)
    """What a model must read for the question to make sense, of `satlens.models.protocol.READS`."""
    why: ClassVar[str] = ""
    """Why no other model is taken."""

    model: str
    corpus: str = BUNDLED
    k: int = DEFAULT_K
    max_tokens: int = 20_000
    seed: int = DEFAULT_SEED
    batch_size: int = 8
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        least = {"k": 2, "max_tokens": 1, "seed": 0, "batch_size": 1, **self.least}
        for name, floor in least.items():
            if getattr(self, name) < floor:
                raise InputError(f"{name} must be at least {floor}, got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, lists in place of tuples."""
        values = dataclasses.asdict(self).items()
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values}

    def to_yaml(self) -> str:
        """The text of settings.yaml."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def read(cls: type[S], path: str | Path) -> S:
        """The settings that a run of this verb wrote.

        Raises:
            InputError: no such file, not YAML, unknown or missing keys, or values of a wrong type.
        """
        try:
            found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"Could not read settings from {path}: {error.strerror}.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a YAML file of settings: {error}.") from error
        wanted = {field.name: field.type for field in dataclasses.fields(cls)}
        if not isinstance(found, dict) or "model" not in found or set(found) - set(wanted):
            keys = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise InputError(
                f"{path} holds {keys}; {cls.verb} settings want `model` and may hold "
                f"{', '.join(name for name in wanted if name != 'model')}."
            )
        for name, value in found.items():
            if not fits(value, wanted[name]):
                raise InputError(
                    f"{path}: {name} must be {in_words(wanted[name])}, found {value!r}."
                )
        return cls(**{name: fitted(value, wanted[name]) for name, value in found.items()})


@dataclass(frozen=True)
class AnyKindSettings(RunSettings):
    """What the verbs read that take models of every kind.

    Attributes:
        mask_share: of a masked language model's text: the share of each document's tokens that are masked
            and asked for, drawn with the seed of the run.
    """

    mask_share: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_share <= 1:
            raise InputError(f"mask_share must be above 0 and at most 1, got {self.mask_share}.")


@dataclass(frozen=True)
class AuditSettings(AnyKindSettings):
    """Everything that decides what an audit finds.

    Attributes:
        null_tokens: the nulls are drawn for the first documents, up to this many tokens.
        draws: draws of each null.
        untrained_seeds: how many freshly initialised models stand beside the trained one.
    """

    verb: ClassVar[str] = "audit"
    least: ClassVar[dict[str, int]] = {"null_tokens": 1, "draws": 20, "untrained_seeds": 1}

    null_tokens: int = 5_000
    draws: int = 20
    untrained_seeds: int = 3


@dataclass(frozen=True)
class ProbeSettings(AnyKindSettings):
    """Everything that decides what a probe finds (see `satlens.probes.report`).

    Attributes:
        stages: how many stages to tell apart; None: as many as some layer can fill.
        per_cell: states kept of each stage at each layer.
        min_states: a layer is used if it has this many of its rarest stage.
        folds: parts of the documents.
        draws: of every control that holds chance.
        untrained_seeds: how many untrained models are read.
        out_of_order, ties, censored: what becomes of tokens that have no plain stage.
    """

    verb: ClassVar[str] = "probe"
    least: ClassVar[dict[str, int]] = {
        "per_cell": 1, "min_states": 1, "folds": 2, "draws": 1, "untrained_seeds": 0,
    }  # fmt: skip

    stages: int | None = None
    per_cell: int = PER_CELL
    min_states: int = MIN_STATES
    folds: int = FOLDS
    draws: int = 3
    untrained_seeds: int = 1
    out_of_order: str = "running_max"
    ties: str = "skip"
    censored: str = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        Policy(self.out_of_order, self.ties, self.censored)


@dataclass(frozen=True)
class PatchSettings(AnyKindSettings):
    """Everything that decides what a patch finds (see `satlens.patching.report`).

    Attributes:
        gap: least distance of the saturation layers of a pair; None: 0.21 of the layers.
        across: True for pairs of two documents, False for pairs inside one, None for either.
        offsets: layers from the donor's saturation layer; None: as many as fit, at most 5 each way.
        pairs: pairs to patch, at most.
        stage: the stage to steer out of.
        alphas: strengths of steering.
        steered: tokens to steer, at most.
    """

    verb: ClassVar[str] = "patch"
    least: ClassVar[dict[str, int]] = {"pairs": 1, "stage": 1, "steered": 1}

    gap: int | None = None
    across: bool | None = None
    offsets: tuple[int, ...] | None = None
    pairs: int = LIMIT
    stage: int = 1
    alphas: tuple[float, ...] = ALPHAS
    steered: int = LIMIT


@dataclass(frozen=True)
class ShortcutSettings(AnyKindSettings):
    """Everything that decides what a shortcut finds (see `satlens.lenses.report`).

    Attributes:
        test_share: share of the documents that nothing is fitted on.
        splits: of the documents, whose verdicts must agree; everything else is of the first.
        ridge, intercept: of every fitted map.
        rank: of the maps of low rank; None: an eighth of the width.
        tuned_steps: training steps of the tuned lens; 0: none is trained.
        submodule_tokens: held-out tokens read with sub-modules replaced; 0: none.
        submodule_layers: behind at most this many layers.
    """

    verb: ClassVar[str] = "shortcut"
    least: ClassVar[dict[str, int]] = {
        "splits": 1, "tuned_steps": 0, "submodule_tokens": 0, "submodule_layers": 1,
    }  # fmt: skip

    test_share: float = 0.3
    splits: int = SPLITS
    ridge: float = 0.0
    intercept: bool = False
    rank: int | None = None
    tuned_steps: int = 150
    submodule_tokens: int = 1_000
    submodule_layers: int = 8


@dataclass(frozen=True)
class ExitsSettings(RunSettings):
    """Everything that decides what exits finds (see `satlens.exits.report`).

    Attributes:
        stages: stages that the probe tells apart; per_cell, min_states: of its states, as in a probe.
        test_share: share of the documents that nothing is fitted on.
        splits: of the documents, whose verdicts must agree; everything else is of the first.
        points: thresholds of each policy.
        fit_tokens: training tokens of the exit classifiers and of the thresholds, at most.
        epsilons, delta: of calibrated thresholds.
        untrained_seeds: 1 for an untrained model beside the trained one, or 0.
    """

    verb: ClassVar[str] = "exits"
    takes: ClassVar[tuple[str, ...]] = ("text", "pairs")
    why: ClassVar[str] = "what a position saves by leaving early is counted in decoders of text"
    least: ClassVar[dict[str, int]] = {
        "stages": 2, "per_cell": 1, "min_states": 1, "splits": 1, "points": 2, "fit_tokens": 1,
        "untrained_seeds": 0,
    }  # fmt: skip

    stages: int = 2
    per_cell: int = PER_CELL
    min_states: int = MIN_STATES
    test_share: float = 0.5
    splits: int = SPLITS
    points: int = POINTS
    fit_tokens: int = TOKENS
    epsilons: tuple[float, ...] = EPSILONS
    delta: float = 0.1
    untrained_seeds: int = 1


@dataclass(frozen=True)
class RerankSettings(RunSettings):
    """Everything that decides what a rerank finds (see `satlens.reranking.report`).

    Attributes:
        gap: layers before the end that the published test calls early; None: 7, or its share of the depth.
        folds: parts of the documents.
        draws: of every null.
        null_tokens: path nulls are drawn for the first documents, up to this many tokens.
        untrained_seeds: how many untrained models are read.
        shuffles: draws of the test that shuffles layers.
        C: inverse penalty of the reranker.
    """

    verb: ClassVar[str] = "rerank"
    takes: ClassVar[tuple[str, ...]] = ("text",)
    why: ClassVar[str] = "it asks about the next token of a text"
    least: ClassVar[dict[str, int]] = {
        "folds": 2, "draws": 1, "null_tokens": 0, "untrained_seeds": 0, "shuffles": 1,
    }  # fmt: skip

    gap: int | None = None
    folds: int = FOLDS
    draws: int = NULL_DRAWS
    null_tokens: int = NULL_TOKENS
    untrained_seeds: int = 1
    shuffles: int = SHUFFLES
    C: float = 1.0


@dataclass(frozen=True)
class DepthSettings(AnyKindSettings):
    """Everything that decides what a depth run finds (see `satlens.theory.depth.report`).

    Attributes:
        draws: of each path null, over every token that is read.
        untrained_seeds: 1 to read an untrained model of the same shape beside it, 0 for none.
    """

    verb: ClassVar[str] = "depth"
    least: ClassVar[dict[str, int]] = {"k": 1, "draws": 1, "untrained_seeds": 0}

    draws: int = DEPTH_DRAWS
    untrained_seeds: int = 1


@dataclass(frozen=True)
class RouteSettings(RunSettings):
    """Everything that decides what a route run finds (see `satlens.routing.report`).

    Attributes:
        penalties: lambdas; the verdicts are taken on the first.
        steps, lr: of each training. train_seeds: trainings of the first lambda.
        test_share: share of the documents that the gates are judged on, and never trained on.
        draws: of each path null. k: the rank whose saturation skipping is held against.
    """

    verb: ClassVar[str] = "route"
    takes: ClassVar[tuple[str, ...]] = ("text",)
    why: ClassVar[str] = "gates are trained on the next token of a text"
    least: ClassVar[dict[str, int]] = {"k": 1, "steps": 1, "train_seeds": 1, "draws": 1}

    k: int = 1
    penalties: tuple[float, ...] = PENALTIES
    steps: int = STEPS
    lr: float = RATE
    train_seeds: int = TRAIN_SEEDS
    test_share: float = 0.4
    draws: int = DEPTH_DRAWS


@dataclass(frozen=True)
class DynamicsSettings(RunSettings):
    """Everything that decides what a dynamics run finds (see `satlens.theory.tracking.report`).

    Attributes:
        model: where the checkpoints are (`satlens.theory.checkpoints`).
        revisions: of a name on the hub; None for a folder.
        draws: of each path null. null_tokens: drawn for the first documents, up to this many tokens.
        untrained_seeds: 1 to put an untrained model in front where there is no step 0, 0 for none.
    """

    verb: ClassVar[str] = "dynamics"
    takes: ClassVar[tuple[str, ...]] = ("text",)
    why: ClassVar[str] = "it follows the loss of the next token"
    least: ClassVar[dict[str, int]] = {"draws": 1, "null_tokens": 1, "untrained_seeds": 0}

    revisions: tuple[str, ...] | None = None
    draws: int = NULL_DRAWS
    null_tokens: int = TRACK_TOKENS
    untrained_seeds: int = 1


@dataclass(frozen=True)
class ClaimsSettings(AnyKindSettings):
    """Which claims are asked (see `satlens.claims.run`).

    Attributes:
        only: ids of claims; None for all that apply to what the model reads.
    """

    verb: ClassVar[str] = "claims"

    only: tuple[str, ...] | None = None
