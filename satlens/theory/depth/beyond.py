"""Is depth beyond the limit spent after the answer is fixed? Models of one size and several depths.

With u(L) the blocks used until a rank is fixed (`satlens.theory.depth.spent`), over the models deeper
than the limit that theory sets at their width, ``L > log_3(width)``:

    slope of u on L, least squares    0: each further block comes after the answer    1: none does
    effect                            slope of the nulls - slope of the models

A path into the same end that knows nothing of the layers grows with the depth as well, so a slope below 1
says nothing by itself; the null's is what it is held against. Intervals draw documents again, the same ones
in every model. Training runs of other seeds are reported one by one: their spread is not in the interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap
from satlens.theory.depth.limits import threshold_depth
from satlens.theory.depth.spent import Spent
from satlens.verdicts import UNKNOWN, rule

MARGIN = 0.1
"""Equivalence margin, in blocks used per block added."""
STATEMENT = "Depth beyond the limit is spent after the answer is fixed."


@dataclass(frozen=True)
class Beyond:
    """How the blocks that are used grow with the depth, beyond the limit, for one rank.

    Attributes:
        rank: 1 .. k. depths: of the models that count.
        slope: of the models. null: by kind, of the nulls. excess: the null's slope minus the models'.
        verdict: on `STATEMENT`, against the null with the smaller excess, and why.
    """

    rank: int
    depths: tuple[int, ...]
    slope: Estimate
    null: dict[str, Estimate]
    excess: dict[str, Estimate]
    verdict: str
    why: str
    statement: str = STATEMENT


def beyond(
    models: Sequence[Spent],
    *,
    rank: int = 1,
    margin: float = MARGIN,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Beyond:
    """The slope of the blocks used on the depth, over models of one size that read the same documents.

    Args:
        models: two depths or more beyond their limit; shallower ones are left out.
        rank: whose saturation counts.

    Raises:
        InputError: models of other documents, ranks or nulls; a rank that was not followed.

    Example:
        >>> one = lambda depth, used: Spent(
        ...     f"{depth} blocks", depth, 64, np.arange(2), np.ones(2), np.full((2, 1), used),
        ...     {"rotated": np.full((2, 1), 0.5 * depth)}, np.zeros(2), np.zeros(2), {})
        >>> found = beyond([one(8, 5.0), one(16, 5.0), one(32, 5.0)])
        >>> round(found.slope.value, 6) + 0.0, round(found.null["rotated"].value, 6), found.verdict
        (0.0, 0.5, 'holds')
    """
    _check(models, rank)
    counted = sorted(
        (one for one in models if one.n_layers > threshold_depth(one.width)),
        key=lambda one: one.n_layers,
    )
    depths = np.array([one.n_layers for one in counted], dtype=float)
    if len(np.unique(depths)) < 2:
        nothing = Estimate(np.nan, np.nan, np.nan, note="fewer than two depths beyond the limit")
        return Beyond(
            rank, tuple(map(int, depths)), nothing, {}, {}, UNKNOWN, f"There are {nothing.note}."
        )
    kinds = sorted(counted[0].null)
    # [doc, source (models, then each null), model], and the tokens of each document
    used = np.stack(
        [
            np.stack(
                [part[:, rank - 1] for part in (one.used, *(one.null[kind] for kind in kinds))]
            )
            for one in counted
        ],
        axis=-1,
    ).transpose(1, 0, 2)
    tokens = counted[0].tokens[:, None]
    sums = np.concatenate([used.reshape(len(used), -1), tokens], axis=1)
    weights = (depths - depths.mean()) / ((depths - depths.mean()) ** 2).sum()

    def slopes(s: Float[ndarray, "... m"]) -> Float[ndarray, "... n"]:
        means = (s[..., :-1] / s[..., -1:]).reshape(*s.shape[:-1], 1 + len(kinds), len(depths))
        found = means @ weights
        return np.concatenate([found, found[..., 1:] - found[..., :1]], axis=-1)

    found = bootstrap(sums, slopes, draws=draws, level=level, seed=seed)
    null = {kind: found[1 + i] for i, kind in enumerate(kinds)}
    excess = {kind: found[1 + len(kinds) + i] for i, kind in enumerate(kinds)}
    if not kinds:
        said = UNKNOWN, "No null was drawn."
    else:
        strictest = min(excess, key=lambda kind: excess[kind].value)
        said = rule(
            excess[strictest], margin, f"the slope of the {strictest} path over the models'"
        )
    return Beyond(rank, tuple(map(int, depths)), found[0], null, excess, *said)


def by_shape(models: Sequence[Spent], ranks: Sequence[int] = (1, 5)) -> pd.DataFrame:
    """One row a model: its shape, the limit at its width, loss, and for some ranks the blocks used and the
    share of the depth that comes after, with intervals.

    Raises:
        InputError: a rank that a model did not follow.
    """
    for rank in ranks:
        _check(models, rank, paired=False)
    rows = []
    for one in models:
        loss, used, after = one.loss(), one.blocks_used(), one.after()
        row = {
            "model": one.name, "depth": one.n_layers, "width": one.width,
            "threshold": threshold_depth(one.width),
            "loss": loss.value, "loss_low": loss.low, "loss_high": loss.high,
        }  # fmt: skip
        for rank in ranks:
            for name, found in (("used", used), ("after", after)):
                part = found[rank - 1]
                row |= {
                    f"{name}_{rank}": part.value, f"{name}_{rank}_low": part.low,
                    f"{name}_{rank}_high": part.high,
                }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def _check(models: Sequence[Spent], rank: int, paired: bool = True) -> None:
    if not models:
        raise InputError("No models to compare: pass one Spent for each.")
    first = models[0]
    for one in models:
        if not 1 <= rank <= one.k:
            raise InputError(f"Rank {rank} of {one.name} was not followed; k was {one.k}.")
        if not paired:
            continue
        if not (np.array_equal(one.doc, first.doc) and np.array_equal(one.tokens, first.tokens)):
            raise InputError(
                f"{one.name} and {first.name} did not read the same documents: {one!r} beside {first!r}. "
                "Measure both on the same inputs, with one tokenizer."
            )
        if sorted(one.null) != sorted(first.null):
            raise InputError(
                f"{one.name} has the nulls {', '.join(sorted(one.null)) or 'none'}, {first.name} has "
                f"{', '.join(sorted(first.null)) or 'none'}; draw the same ones for both."
            )
