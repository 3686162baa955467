"""Where would this model skip? `report`: gates alone, trained on a frozen model, judged on other documents.

For each lambda and seed, on documents that nothing was fitted to, by document:

    open, soft, hard, random     loss and saving, as in `satlens.routing.evaluate`
    early exit                   of the same model at as many blocks; threshold from the training part

and whether the router skips where saturation says the answer is fixed
(`satlens.routing.saturation`). Verdicts are taken on the first lambda, which is trained with several seeds:
what they do not agree on cannot be told. The other lambdas stand beside it, trained once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy import ndarray
from torch.nn.utils.rnn import pad_sequence

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.lenses.documents import check_apart
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap
from satlens.routing.early_exit import EarlyExit, blocks_used, matched_early_exit
from satlens.routing.evaluate import RoutingResult, evaluate_gates
from satlens.routing.examples import NOT_SCORED, Examples, Source, step_seed
from satlens.routing.gates import TokenGates
from satlens.routing.saturation import SkipReport, collect
from satlens.routing.saturation import report as compared
from satlens.routing.train import TrainSettings, train_gates
from satlens.saturation.ranking import check_k
from satlens.verdicts import AS_PUBLISHED, HOLDS, agreed, judged

PENALTIES = (0.3, 0.1, 1.0)
"""Lambdas; the verdicts are taken on the first."""
STEPS, RATE = 100, 5e-3
TRAIN_SEEDS = 3
"""Trainings of the first lambda: what one of them gives can be luck."""
MARGIN = 0.01
"""In nats a token: one per cent of the perplexity."""


@dataclass(frozen=True, eq=False)
class RoutedRun:
    """Gates of one lambda and seed.

    Attributes:
        result: every way, on the held-out documents. exit: early exit at as many blocks.
        over_random, over_exit: loss of skipping at random, and of early exit, minus that of the hard gates.
        history: of the training.
    """

    penalty: float
    seed: int
    result: RoutingResult
    exit: EarlyExit
    over_random: Estimate
    over_exit: Estimate
    history: Sequence[Mapping[str, float]]
    gates: TokenGates = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "penalty": self.penalty, "seed": self.seed, **self.result.to_dict(),
            "early_exit": {
                "loss": self.exit.loss.to_dict(), "blocks": self.exit.blocks.to_dict(),
                "saved": float(self.exit.saved),
            },
            "over_random": self.over_random.to_dict(), "over_exit": self.over_exit.to_dict(),
            "history": [dict(one) for one in self.history],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class RoutingReport:
    """What routers make of a frozen model.

    Attributes:
        runs: one a lambda and seed, the first the one that is judged.
        skips: how skipping goes with saturation, one a run.
    """

    runs: Sequence[RoutedRun]
    skips: Sequence[SkipReport]
    verdicts: Sequence[dict[str, Any]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: runs, saturation, verdicts, settings, notes."""
        skips = [one.to_dict() for one in self.skips]
        first = {name: value for name, value in skips[0].items() if name != "verdicts"}
        brief = ("correlation", "partial", "excess")
        return {
            "runs": [
                {**one.to_dict(), "skipping": {name: skip[name] for name in brief}}
                for one, skip in zip(self.runs, skips, strict=True)
            ],
            "saturation": first,
            "verdicts": [dict(one) for one in self.verdicts], "settings": dict(self.settings),
            "notes": list(self.notes),
        }  # fmt: skip


def report(
    model: Any,
    training: Any,
    held_out: Any,
    *,
    penalties: Sequence[float] = PENALTIES,
    steps: int = STEPS,
    lr: float = RATE,
    train_seeds: int = TRAIN_SEEDS,
    rank: int = 1,
    draws: int = 5,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> RoutingReport:
    """Train gates on a model that stays as it is, and judge them on documents that they have not seen.

    Args:
        model: predicts the next token of a text.
        training, held_out: as in `satlens.detect`, or `Batches`; no document in both.
        penalties: lambdas. The verdicts are taken on the first.
        steps, lr: of each training. train_seeds: trainings of the first lambda, which must agree.
        rank: whose saturation skipping is held against. draws: of the path nulls.

    Raises:
        InputError: unusable settings or inputs. ModelError: a model that cannot be gated, or reads no text.

    Source: arXiv 2605.05222 for the gates; on a frozen model, and against saturation, the question is ours.

    Example:
        >>> import satlens
        >>> stories = ["Lily had a red ball.", "The dog ran to the park.", "Tom saw a big cat."]
        >>> found = report(satlens.load_model("tiny"), stories[:1], stories[1:], penalties=(0.3,), steps=2)
        >>> [one["id"] for one in found.verdicts][:2]
        ['router_beats_chance', 'router_beats_early_exit']
    """
    model = wrap(model)
    _check(model, penalties, steps, train_seeds, draws)
    check_k(rank, model.n_outputs)  # now, not after the trainings
    parts = [
        one if isinstance(one, Batches) else model.batches(one, batch_size)
        for one in (training, held_out)
    ]
    check_apart(*parts)
    chosen, rows = (examples_of(one) for one in parts)
    classes = token_classes(model)
    runs = []
    trained = [(penalties[0], seed + number) for number in range(train_seeds)]
    for penalty, own in [*trained, *((one, seed) for one in penalties[1:])]:
        runs.append(
            _run(model, parts[0], chosen, rows, classes,
                 TrainSettings(steps, penalty, joint=False, lr=lr, seed=own), progress)
        )  # fmt: skip
    told = collect([one.gates for one in runs], parts[1], rank, draws=draws, seed=seed)
    skips = [compared(one, seed=seed) for one in told]
    return RoutingReport(
        runs, skips, _agreed(runs[:train_seeds], skips[:train_seeds]),
        {"model": model.name, "penalties": list(penalties), "steps": steps, "lr": lr,
         "train_seeds": train_seeds, "rank": rank, "draws": draws, "seed": seed, "margin": MARGIN,
         "bootstrap_draws": DRAWS, "level": LEVEL},
        [f"null {kind}: not available. {why}" for kind, why in skips[0].missing.items()],
    )  # fmt: skip


def _run(
    model: ResidualModel,
    training: Batches,
    chosen: list[Examples],
    rows: list[Examples],
    classes: Mapping[str, list[int]],
    settings: TrainSettings,
    progress: bool,
) -> RoutedRun:
    gates = TokenGates(model, seed=settings.seed)
    done = train_gates(gates, rows_of(training, settings.seed), settings, progress=progress)
    result = evaluate_gates(gates, rows, classes=classes)
    matched = matched_early_exit(
        model, blocks_used(result.active("hard").value, model.n_layers), chosen, rows
    )
    number = np.concatenate([cast(torch.Tensor, one.doc).numpy() for one in rows])
    exits = np.zeros((len(result.tokens), 3))
    np.add.at(exits, np.unique(number, return_inverse=True)[1], matched.sums[:, :3])
    return RoutedRun(
        settings.penalty, settings.seed, result, matched,
        result.excess_loss("random", "hard"), _difference(exits, result.sums["hard"]), done.history, gates,
    )  # fmt: skip


def _difference(one: ndarray, other: ndarray) -> Estimate:
    """Loss one way minus another, paired by document; columns nats, right, positions."""
    return bootstrap(
        np.concatenate([one, other], axis=1),
        lambda s: s[..., 0:1] / s[..., 2:3] - s[..., 3:4] / s[..., 5:6],
    )[0]


def examples_of(batches: Batches) -> list[Examples]:
    """The rows of some inputs as examples, in their batches; scored where a counted token has a next one."""
    size = batches.batch_size
    return [
        _together(batches.rows[first : first + size]) for first in range(0, len(batches.rows), size)
    ]


def rows_of(batches: Batches, seed: int = DEFAULT_SEED) -> Source:
    """Rows of some inputs, drawn anew in every step."""

    def draw(step: int) -> Examples:
        size = min(batches.batch_size, len(batches.rows))
        chosen = step_seed(seed, step).choice(len(batches.rows), size, replace=False)
        return _together([batches.rows[i] for i in chosen])

    return draw


def _together(rows: Sequence[Any]) -> Examples:
    ids = pad_sequence([row.ids for row in rows], batch_first=True)
    there = pad_sequence(
        [torch.ones_like(row.ids, dtype=torch.bool) for row in rows], batch_first=True
    )
    counts = pad_sequence([row.real for row in rows], batch_first=True)
    target = torch.full_like(ids, NOT_SCORED)
    scored = counts[:, :-1] & counts[:, 1:]
    target[:, :-1][scored] = ids[:, 1:][scored]
    return Examples(ids, target, there, torch.tensor([row.doc for row in rows]))


def token_classes(model: ResidualModel) -> dict[str, list[int]]:
    """Token ids by what they are in a text; no classes without a tokenizer."""
    if model.tokenizer is None:
        return {}
    kinds: dict[str, list[int]] = {}
    for one in range(min(model.n_outputs, len(model.tokenizer))):
        kinds.setdefault(kind_of_token(model.tokenizer.decode([one])), []).append(one)
    return {kind: ids for kind, ids in kinds.items() if kind}


def kind_of_token(text: str) -> str:
    r"""What a token is; empty where it is nothing of these.

    >>> [kind_of_token(one) for one in (" the", "ing", " 12", ".", "\n", " ", "<s>")]
    ['word start', 'inside a word', 'number', 'punctuation', 'white space', 'white space', '']
    """
    inside = text.strip()
    if not inside:
        return "white space" if text else ""
    if inside.replace("'", "").isalpha():
        return "word start" if text[0].isspace() else "inside a word"
    if inside.isdigit():
        return "number"
    return "" if any(one.isalnum() for one in inside) else "punctuation"


def _check(
    model: ResidualModel, penalties: Sequence[float], steps: int, train_seeds: int, draws: int
) -> None:
    """Everything cheap is refused before anything is trained."""
    if model.reads != "text" or not model.causal:
        raise ModelError(
            f"{model.name} does not predict the next token of a text, which is what gates are "
            "trained on. Pass a causal language model, or put gates on it by hand "
            "(TokenGates.attached)."
        )
    if not penalties or train_seeds < 1 or steps < 1 or draws < 1:
        raise InputError(
            f"Give a penalty or more, and 1 or more steps, train_seeds and draws; got penalties "
            f"{list(penalties)}, steps={steps}, train_seeds={train_seeds}, draws={draws}."
        )


def _agreed(runs: Sequence[RoutedRun], skips: Sequence[SkipReport]) -> list[dict[str, Any]]:
    """The verdicts of one lambda, over its trainings."""
    each = [[*_verdicts(run), *skip.verdicts] for run, skip in zip(runs, skips, strict=True)]
    return [agreed(same, "trainings") for same in zip(*each, strict=True)]


def _verdicts(first: RoutedRun) -> list[dict[str, Any]]:
    keep, said = f"{MARGIN:g} nats minus the loss that {{}} gates add", first.result.loss_spared
    hard = judged(
        "hard_gates_keep_the_loss",
        f"What hard gates skip costs less than {MARGIN:g} nats a token.",
        (keep.format("hard"), said(MARGIN)), MARGIN,
    )  # fmt: skip
    soft = judged(
        "soft_gates_keep_the_loss_as_published",
        f"What soft gates count as saved costs less than {MARGIN:g} nats a token.",
        (keep.format("soft"), said(MARGIN, "soft")), MARGIN,
    )  # fmt: skip
    if soft["verdict"] == HOLDS and hard["verdict"] != HOLDS:
        soft["verdict"] = AS_PUBLISHED
        soft["why"] += " A soft gate computes all that it scales: nothing of it is saved."
    return [
        judged(
            "router_beats_chance",
            "The router chooses better than chance: as many skips at random cost more loss.",
            ("loss of random skips minus that of the router's", first.over_random), MARGIN, "random",
        ),
        judged(
            "router_beats_early_exit",
            "Skipping costs less loss than leaving early at as many blocks.",
            ("loss of early exit minus that of the router's skips", first.over_exit), MARGIN, "early_exit",
        ),
        hard,
        soft,
    ]  # fmt: skip
