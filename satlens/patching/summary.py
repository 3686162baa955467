"""Can the next stage be forced? Patching and steering with all their controls, in one table: `report`.

    transition_by_patching                 share forced at offset 0: paired - strictest control
    transition_by_patching_as_published    the paper's success rate at offset 0: paired - strictest control
    transition_by_steering                 share forced at alpha = 1: means - strictest control

each judged by the rule of `satlens.verdicts`; the strictest control is found anew in every bootstrap draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import wrap
from satlens.patching.directions import CONTROLS as OTHER_DIRECTIONS
from satlens.patching.directions import check_stage, halves
from satlens.patching.donors import CONTROLS
from satlens.patching.effects import Resampling
from satlens.patching.pairs import find_pairs
from satlens.patching.patch import BATCH_TOKENS, LIMIT, check_ranks, patch, patched_layers
from satlens.patching.result import PatchingResult
from satlens.patching.rows import check_tokens, read
from satlens.patching.steer import ALPHAS, check_alphas, steer
from satlens.patching.steered import SteeringResult
from satlens.resampling import DRAWS, Estimate, check_draws, finite
from satlens.saturation.detect import detect
from satlens.verdicts import AS_PUBLISHED, HOLDS, rule

MARGIN = 0.02
"""Equivalence margin of every verdict: 2 of 100 runs."""


@dataclass(frozen=True)
class Judged:
    """One verdict: what was claimed, how large the effect is over the strictest control, and why."""

    id: str
    statement: str
    name: str
    verdict: str
    effect: Estimate
    why: str
    control: str | None

    def to_dict(self) -> dict[str, Any]:
        """As in results.json, under "verdicts"."""
        return {
            "id": self.id, "statement": self.statement, "verdict": self.verdict,
            "effect": {"name": self.name, **self.effect.to_dict()}, "p": finite(self.effect.p),
            "why": self.why, "null": self.control,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class PatchingReport:
    """What patching and steering do, beside what their controls do.

    Attributes:
        patched, steered: every run.
        found: how many pairs the inputs hold.
        verdicts: the three of the module.
        how: draws, level and seed of the intervals.
    """

    patched: PatchingResult
    steered: SteeringResult
    found: int
    verdicts: Sequence[Judged]
    how: Resampling
    settings: Mapping[str, Any]
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: keys "pairs", "patching", "steering", "verdicts", "settings", "notes".

        NaN is None; every interval is ``[low, high]`` under "ci" (None where there is none).
        """
        from satlens.patching.tables import to_dict

        return to_dict(self)

    def to_frame(self):
        """A pandas frame, one row a number: part, condition, outcome, rank, at, value, low, high.

        ``at`` is the offset of a patch or the strength of a push.
        """
        from satlens.patching.tables import to_frame

        return to_frame(self)


def report(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    offsets: Sequence[int] | None = None,
    gap: int | None = None,
    across: bool | None = None,
    pairs: int = LIMIT,
    stage: int = 1,
    alphas: Sequence[float] = ALPHAS,
    steered: int = LIMIT,
    batch_tokens: int = BATCH_TOKENS,
    seed: int = DEFAULT_SEED,
    margin: float = MARGIN,
    draws: int = DRAWS,
    progress: bool = False,
) -> PatchingReport:
    """Can the next stage be forced, by a saturated state or by a direction, beyond what controls do?

    Args:
        model, inputs, k, batch_tokens, progress: as in `satlens.patching.patch`.
        offsets: 0 must be among them: the verdicts are taken there.
        gap, across: of the pairs, as in `satlens.patching.find_pairs`.
        pairs: pairs to patch, at most.
        stage: steer out of this stage into the next.
        alphas: 1 must be among them: the verdict is taken there.
        steered: tokens to steer, at most.
        margin: equivalence margin of the verdicts, a share of the runs.
        draws: of the bootstrap over documents.

    Raises:
        InputError: no pairs, one document, nobody to steer, unusable settings.

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> model, texts = satlens.load_model("tiny"), read_corpus("bundled").documents[:4]
        >>> few = dict(k=2, offsets=[0], alphas=[1.0], pairs=3, steered=3, draws=50)
        >>> [verdict.id for verdict in report(model, texts, **few).verdicts]
        ['transition_by_patching', 'transition_by_patching_as_published', 'transition_by_steering']
    """
    model = wrap(model)
    check_ranks(k, model.n_outputs)
    check_stage(stage, k)
    check_tokens(batch_tokens)
    check_draws(draws, Resampling().level)
    _check(offsets, check_alphas(alphas), pairs, steered, margin)
    batches = read(model, inputs)
    events = detect(model, batches, k=k, progress=progress)
    halves(events, seed)  # one document only: said before the long part
    every = find_pairs(events, gap=gap, across=across, seed=seed)
    offsets, _ = patched_layers(every.first(pairs), offsets)
    common: dict[str, Any] = {
        "k": k,
        "batch_tokens": batch_tokens,
        "seed": seed,
        "progress": progress,
    }
    patched = patch(model, batches, every.first(pairs), offsets=offsets, **common)
    pushed = steer(
        model, batches, events=events, stage=stage, alphas=alphas, limit=steered, **common
    )
    how = Resampling(draws=draws, seed=seed)
    settings = {"k": k, "offsets": list(offsets), "gap": every.settings["gap"], "across": across,
                "pairs": pairs, "stage": stage, "alphas": list(pushed.alphas), "steered": steered,
                "batch_tokens": batch_tokens, "seed": seed, "margin": margin,
                "draws": draws, "level": how.level}  # fmt: skip
    return PatchingReport(
        patched=patched, steered=pushed, found=len(every),
        verdicts=judge(patched, pushed, how, margin), how=how, settings=settings,
        notes=notes(patched, pushed),
    )  # fmt: skip


def judge(
    patched: PatchingResult, pushed: SteeringResult, how: Resampling, margin: float = MARGIN
) -> tuple[Judged, ...]:
    """The three verdicts of the module."""
    control, effect = patched.strictest(CONTROLS, "forced", how=how)
    found, why = rule(effect, margin, f"the share forced over the strictest control ({control})")
    main = Judged(
        "transition_by_patching",
        "A saturated state of the same answer makes the token's own rank 2 settle earlier, more often than "
        "other states do.",
        "share forced at offset 0 over the strictest control",
        found, effect, why, control,
    )  # fmt: skip
    control, effect = patched.strictest(CONTROLS, "published", how=how)
    found, why = rule(effect, margin, f"the success rate over the strictest control ({control})")
    if found == HOLDS and main.verdict != HOLDS:
        found = AS_PUBLISHED
    circular = (
        "The published rule is near-circular: from the donor's saturation layer on, the state put in "
        "decodes to the answer by construction, and rank 2 is never looked at."
    )
    published = Judged(
        "transition_by_patching_as_published",
        "A saturated state fixes the answer at the patched layer (the paper's success rule).",
        "published success rate at offset 0 over the strictest control",
        found, effect, f"{why} {circular}", control,
    )  # fmt: skip
    control, effect = pushed.strictest(OTHER_DIRECTIONS, "forced", alpha=1.0, how=how)
    found, why = rule(effect, margin, f"the share forced over the strictest control ({control})")
    i = pushed.stage
    steering = Judged(
        "transition_by_steering",
        f"The direction from stage {i} to stage {i + 1} starts stage {i + 1}, with the model's own "
        "answer, more often than other directions do.",
        "share forced at alpha = 1 over the strictest control",
        found, effect, why, control,
    )  # fmt: skip
    return main, published, steering


def notes(patched: PatchingResult, pushed: SteeringResult) -> list[str]:
    """What a reader of the numbers must know."""
    some = {o: n for o, n in patched.left_out.items() if n}
    found = []
    if some:
        by = ", ".join(f"{n} at {o:+d}" for o, n in some.items())
        found.append(
            f"Pairs left out because the layer to patch is not inside the model, by offset: {by}."
        )
    changed = float(np.nansum(np.abs(patched.values("advance", "self"))))
    changed += float(np.nansum(1 - patched.values("kept", "self")))
    if changed:
        found.append(
            "Putting a token's own state back changed some results: the batch rounds differently, or "
            "the model is not deterministic. Do not trust small effects here."
        )
    censored = patched.clean.layer[:, :2] == patched.n_layers - 1
    found.append(
        "A rank seen fixed only at the output counts as fixed at the last layer; in the clean runs of "
        f"the recipients that is {censored[:, 0].mean():.0%} of rank 1 and {censored[:, 1].mean():.0%} "
        "of rank 2."
    )
    missing = pushed.directions.missing.items()
    found += [f"The direction {name!r} is not available: {why}" for name, why in missing]
    return found


def _check(
    offsets: Sequence[int] | None, alphas: Sequence[float], pairs: int, steered: int, margin: float
) -> None:
    """Everything cheap, before the first forward pass."""
    if offsets is not None and 0 not in offsets:
        raise InputError(
            f"offsets must hold 0, where the verdicts on patching are taken; got {list(offsets)}."
        )
    if 1.0 not in alphas:
        raise InputError(
            f"alphas must hold 1, where the verdict on steering is taken; got {list(alphas)}."
        )
    for name, value in (("pairs", pairs), ("steered", steered)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    if not margin > 0:
        raise InputError(f"margin must be above 0, got {margin}.")
