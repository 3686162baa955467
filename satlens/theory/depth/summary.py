"""Where does this model's depth go? `report`: blocks used until each rank is fixed, beside nulls and a twin.

    effect    share of the blocks after rank 1 is fixed, minus that of the stricter path null (the one with
              the smaller excess), by the rule of `satlens.verdicts`

Beside it stand an untrained model of the same shape, the loss of both, and what theory says of the shape
(`satlens.theory.depth.limits`). One model cannot show a limit to depth: `satlens.theory.depth.beyond`
compares several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.models import Batches, untrained, wrap
from satlens.resampling import DRAWS, LEVEL, Estimate
from satlens.theory.depth.limits import recommended_depth, threshold_depth
from satlens.theory.depth.spent import Spent, spent
from satlens.verdicts import judged

MARGIN = 0.02
"""Of the depth: 2 of 100 blocks."""
NULL_DRAWS = 5
"""Of each path null, over every token that is read."""
STATEMENT = "More of the depth is left once rank 1 is fixed than a path into the same end leaves."


@dataclass(frozen=True, eq=False)
class DepthReport:
    """Where a model's depth goes.

    Attributes:
        trained: the model. fresh: an untrained one of its shape, or None (see ``notes``).
        threshold: ``log_3(width)``. recommended: depth of the fitted line, None below its range.
    """

    trained: Spent
    fresh: Spent | None
    threshold: float
    recommended: int | None
    verdicts: Sequence[dict[str, Any]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: depth, loss, ranks, verdicts, settings, notes."""
        both = {"trained": self.trained, "untrained": self.fresh}
        said = {name: None if one is None else _ranks(one) for name, one in both.items()}
        return {
            "depth": {
                "layers": self.trained.n_layers, "width": self.trained.width,
                "threshold": self.threshold, "recommended": self.recommended,
            },
            "loss": {
                name: None if one is None else one.loss().to_dict() for name, one in both.items()
            },
            "ranks": [
                {"rank": i + 1, **{name: one and one[i] for name, one in said.items()}}
                for i in range(self.trained.k)
            ],
            "verdicts": [dict(one) for one in self.verdicts],
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }  # fmt: skip


def report(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    draws: int = NULL_DRAWS,
    untrained_seeds: int = 1,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> DepthReport:
    """How many blocks the model uses until each rank is fixed, and what is left of its depth.

    Args:
        model, inputs, k, batch_size, progress: as in `satlens.detect`; inputs may be `Batches`.
        draws: of each path null.
        untrained_seeds: 1 to read an untrained model of the same shape beside it, 0 for none.

    Raises:
        InputError: unusable settings or inputs.

    Source: Levine et al. 2020 for the limits; the measure is ours.

    Example:
        >>> import satlens
        >>> stories = ["Lily had a red ball.", "The dog ran to the park."]
        >>> found = report(satlens.load_model("tiny"), stories, k=2, draws=2)
        >>> found.trained.n_layers, round(found.threshold, 2), found.recommended
        (16, 4.42, None)
    """
    if untrained_seeds not in (0, 1):
        raise InputError(f"untrained_seeds must be 0 or 1, got {untrained_seeds!r}.")
    model = wrap(model)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    same: dict[str, Any] = {"k": k, "seed": seed, "progress": progress}
    found, fresh = spent(model, batches, draws=draws, **same), None
    notes = [f"{kind}: not available. {why}" for kind, why in found.settings["missing"].items()]
    if untrained_seeds:
        try:
            fresh = spent(untrained(model, seed), batches, kinds=(), **same)
        except ModelError as error:
            notes.append(f"untrained: not available. {error}")
    try:
        recommended = recommended_depth(found.width)
    except InputError as error:
        recommended = None
        notes.append(str(error))
    if loss := found.loss(draws=1).note:
        notes.append(f"loss: {loss}.")
    return DepthReport(
        found, fresh, threshold_depth(found.width), recommended, [_verdict(found)],
        {"model": model.name, "k": k, "draws": draws, "untrained_seeds": untrained_seeds, "seed": seed,
         "margin": MARGIN, "bootstrap_draws": DRAWS, "level": LEVEL},
        notes,
    )  # fmt: skip


def _ranks(one: Spent) -> list[dict[str, Any]]:
    """What is known of each rank of one model."""
    used, after = one.blocks_used(), one.after()
    nulls = {kind: one.excess(kind) for kind in one.null}
    return [
        {
            "used": used[i].to_dict(),
            "after": after[i].to_dict(),
            "nulls": {
                kind: {"used": float(one.null[kind][:, i].sum() / one.tokens.sum()),
                       "excess": excess[i].to_dict()}
                for kind, excess in nulls.items()
            },
        }
        for i in range(one.k)
    ]  # fmt: skip


def _verdict(found: Spent) -> dict[str, Any]:
    excess = {kind: found.excess(kind)[0] for kind in found.null}
    strictest = min(excess, key=lambda kind: excess[kind].value, default=None)
    nothing = Estimate(np.nan, np.nan, np.nan, note="no path null")
    effect = nothing if strictest is None else excess[strictest]
    name = "share of the blocks left after rank 1, over the stricter path"
    return judged("depth_left_after_the_answer", STATEMENT, (name, effect), MARGIN, strictest)
