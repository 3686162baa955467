"""Follow a model through its training, and judge what changes: `report`.

    order appears       the excess of the concordance over the stricter path null at the last checkpoint, and
                        the first step from which on it holds at every checkpoint
    the answer moves    mean saturation layer of rank 1, last checkpoint minus untrained model, as a share of
                        the blocks; the same documents, paired

Both by the rule of `satlens.verdicts`. Order that is there at the first checkpoint already was not brought by
what was seen of the training: of an untrained model the claim then fails, of any other it cannot be told. The
second asks for a movement to *later* layers; one to earlier layers lies below 0 and fails too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.models import untrained, wrap
from satlens.nulls.draws import NULL_DRAWS
from satlens.order.excess import MARGIN
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap
from satlens.theory.tracking.rows import Checkpoint, Track
from satlens.theory.tracking.stored import Checkpoints
from satlens.theory.tracking.track import NULL_TOKENS, track
from satlens.verdicts import FAILS, UNKNOWN, judged

MOVED = 0.02
"""Of the blocks: 2 of 100."""
ORDER = (
    "Order beyond converging appears in training: from some step on, the ranks are fixed in order."
)
LATER = "Training moves rank 1 to later layers than those of the untrained model."


@dataclass(frozen=True, eq=False)
class DynamicsReport:
    """A model through its training.

    Attributes:
        track: a row a checkpoint. names: of the checkpoints, by step.
        twin: whether the untrained model of step 0 was made for this, for want of a checkpoint.
        n_layers: blocks of the model.
    """

    track: Track
    names: Mapping[int, str]
    twin: bool
    n_layers: int
    verdicts: Sequence[dict[str, Any]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: checkpoints, appears, verdicts, settings, notes."""
        return {
            "checkpoints": [self._of(row) for row in self.track.rows],
            "appears": self.track.appears(),
            "verdicts": [dict(one) for one in self.verdicts],
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }

    def _of(self, row: Checkpoint) -> dict[str, Any]:
        ranks = zip(row.mean_layer, row.censored, strict=True)
        return {
            "step": row.step,
            "name": self.names[row.step],
            "twin": self.twin and row.step == 0,
            "weights_sha256": row.weights_sha256,
            "loss": row.loss.to_dict(),
            "ranks": [
                {"rank": i + 1, "layer": layer.to_dict(), "censored": censored.to_dict()}
                for i, (layer, censored) in enumerate(ranks)
            ],
            "concordance": row.concordance.to_dict(),
            "comparable": row.comparable.to_dict(),
            "excess": {kind: one.to_dict() for kind, one in row.excess.items()},
            "verdict": row.verdict,
            "why": row.why,
        }


def report(
    checkpoints: Checkpoints,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    draws: int = NULL_DRAWS,
    null_tokens: int = NULL_TOKENS,
    untrained_seeds: int = 1,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    folder: str | Path | None = None,
    progress: bool = False,
) -> DynamicsReport:
    """Loss, saturation and order at every checkpoint, and what training brought.

    Args:
        checkpoints: as from `satlens.theory.checkpoints`; loaded one at a time.
        inputs, k, draws, null_tokens, batch_size, folder: as in `satlens.theory.track`.
        untrained_seeds: 1 to put an untrained model of the first checkpoint's shape in front, as step 0,
            where there is no step 0; 0 for none.

    Raises:
        InputError: unusable settings or inputs, a single checkpoint. Else as `track`.

    Example, of a training that keeps ``checkpoint-500``, ``checkpoint-1000`` ...::

        found = report(satlens.theory.checkpoints("runs/mine"), texts)
        found.track.appears(), found.track.to_frame()
    """
    if untrained_seeds not in (0, 1):
        raise InputError(f"untrained_seeds must be 0 or 1, got {untrained_seeds!r}.")
    course = Course(checkpoints, seed if untrained_seeds else None, progress)
    found = track(
        course, inputs, folder=folder, k=k, draws=draws, null_tokens=null_tokens,
        batch_size=batch_size, seed=seed,
    )  # fmt: skip
    n_layers, notes = found.settings["layers"], [*checkpoints.notes, *course.notes]
    verdicts = [order_verdict(found), later_verdict(found, n_layers)]
    first, last = found.rows[0], found.rows[-1]
    if first.step == 0 and not last.loss.value < first.loss.value:
        notes.append(
            f"The loss of step {last.step:,} is not below that of step 0: what moved, moved without learning."
        )
    return DynamicsReport(
        found, course.names, course.twin, n_layers, verdicts,
        {"model": checkpoints.name, "k": k, "draws": draws, "null_tokens": null_tokens,
         "untrained_seeds": untrained_seeds, "seed": seed, "margin": MARGIN, "margin_layer": MOVED,
         "bootstrap_draws": DRAWS, "level": LEVEL},
        notes,
    )  # fmt: skip


class Course:
    """The checkpoints, one after the other; in front an untrained twin of the first, if there is no step 0.

    Attributes:
        names: by step. twin: whether the twin was made. notes: why it could not be.
    """

    def __init__(self, found: Checkpoints, seed: int | None, progress: bool) -> None:
        self.found, self.progress = found, progress
        self.seed = None if 0 in found.steps else seed
        self.names = {one.step: one.name for one in found.stored}
        self.twin, self.notes = False, list[str]()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        total = len(self.found) + (self.seed is not None)
        # Not around the models: it would hold each until the next is there.
        with tqdm(total=total, desc="checkpoints", disable=not self.progress) as bar:
            yield from self._twin(bar)
            for one in self.found:
                yield one
                del one
                bar.update()

    def _twin(self, bar: "tqdm[Any]") -> Iterator[tuple[int, Any]]:
        if self.seed is None:
            return
        first = self.found.stored[0].load()
        try:
            fresh = untrained(wrap(first), self.seed)
        except ModelError as error:
            self.notes.append(f"untrained: not available. {error}")
        else:
            self.twin, self.names[0] = True, f"untrained, seed {self.seed}"
            del first
            yield 0, fresh
        bar.update()


def order_verdict(found: Track) -> dict[str, Any]:
    """Whether order appears: at the last checkpoint, from which step on, and whether it was there before."""
    last, first = found.rows[-1], found.rows[0]
    defined = {kind: one for kind, one in last.excess.items() if np.isfinite(one.value)}
    kind = min(defined, key=lambda one: defined[one].value, default=None)
    nothing = Estimate(np.nan, np.nan, np.nan, note="no path null")
    effect = nothing if kind is None else defined[kind]
    name = f"excess of the concordance at step {last.step:,}, over the stricter path"
    margin = found.settings["margin"]
    said = judged("order_appears_in_training", ORDER, (name, effect), margin, kind)
    if said["verdict"] != last.verdict:  # a path null is missing, so the stricter one is not known
        said |= {"verdict": last.verdict, "why": last.why, "p": None}
    step = found.appears()
    if step is None:
        return said
    if step > first.step:
        return said | {"why": f"From step {step:,} on. {said['why']}"}
    if step == 0:
        why = "Every checkpoint has it, step 0 too: it is not training that brings it."
        return said | {"verdict": FAILS, "why": why}
    why = f"Every checkpoint has it from the first, step {step:,}, on; no untrained model is beside them."
    return said | {"verdict": UNKNOWN, "why": why}


def later_verdict(found: Track, n_layers: int) -> dict[str, Any]:
    """Whether rank 1 is fixed at later layers after training than before."""
    last, first = found.rows[-1], found.rows[0]
    if first.step == 0 and last.step > 0:
        effect = moved(first, last, n_layers, found.settings["seed"])
    else:
        effect = Estimate(np.nan, np.nan, np.nan, note="no untrained model to compare with")
    name = f"mean layer of rank 1, step {last.step:,} minus step 0, as a share of the blocks"
    return judged("answer_moves_to_later_layers", LATER, (name, effect), MOVED, "untrained")


def moved(
    before: Checkpoint, after: Checkpoint, n_layers: int, seed: int = DEFAULT_SEED
) -> Estimate:
    """Mean saturation layer of rank 1, after minus before, as a share of the blocks, paired by document.

    Raises:
        InputError: rows that did not read the same documents, or of before these were kept.
    """
    one, other = np.array(before.rank_1), np.array(after.rank_1)
    if one.shape != other.shape or not len(one) or not np.array_equal(one[:, 1], other[:, 1]):
        raise InputError(
            f"Steps {before.step} and {after.step} did not read the same documents, or were measured "
            "before layers by document were kept: measure them again."
        )
    sums = np.column_stack([other[:, 0] - one[:, 0], one[:, 1]])
    return bootstrap(sums, lambda s: s[..., :1] / s[..., 1:] / n_layers, seed=seed)[0]
