"""States with their stages, cut so that no stage is more frequent than another at any layer.

With ``n[l, i]`` the states kept of stage ``i`` at layer ``l`` and stages ``1 .. m``:

    balanced   layer l gives min_i n[l, i] states of every stage; left out where that is below min_states
    matched    several collections at once: min over all of them, so that amount and layers are equal

Which states stay is decided by their random keys alone (the lowest), not by what they hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt64
from numpy import ndarray

from satlens.errors import InputError
from satlens.probes.stages import StageCounts

MIN_STATES = 50
"""A layer is used if it has this many states of its rarest stage, when nothing else is said."""

COLUMNS = ("state", "stage", "layer", "doc", "pos", "input", "top1", "features", "key")
"""What a row of `StageStates` holds."""


@dataclass(frozen=True, eq=False)
class StageStates:
    """Residual states and what they are labelled with, one row a state, by layer, stage and key.

    Attributes:
        state: ``[n, d]`` residual states after their block, float32.
        stage: ``[n]`` 1 .. k.
        layer, doc, pos: ``[n]`` where the state is from.
        input: ``[n]`` the id read at this position (-1 where unknown).
        top1: ``[n]`` the id at rank 1 of the model's final output.
        features: ``[n, f]`` of the final distribution (see `satlens.probes.features`).
        key: ``[n]`` random numbers that depend on (seed, doc, pos, layer) alone.
        counts: tokens and states before sampling and balancing.
        stages: m, once balanced; None before.
        skipped: layers left out by balancing, and why.
    """

    state: Float[ndarray, "n d"]
    stage: Int[ndarray, " n"]
    layer: Int[ndarray, " n"]
    doc: Int[ndarray, " n"]
    pos: Int[ndarray, " n"]
    input: Int[ndarray, " n"]
    top1: Int[ndarray, " n"]
    features: Float[ndarray, "n f"]
    key: UInt64[ndarray, " n"]
    counts: StageCounts
    stages: int | None = None
    skipped: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.state)
        for name in COLUMNS:
            if len(getattr(self, name)) != n:
                raise InputError(
                    f"StageStates.{name} has {len(getattr(self, name))} rows; there are {n} states."
                )

    def __len__(self) -> int:
        return len(self.state)

    def __repr__(self) -> str:
        stages = "not balanced" if self.stages is None else f"stages 1 to {self.stages}, balanced"
        return (
            f"StageStates({len(self):,} states of width {self.state.shape[1]}, "
            f"{len(np.unique(self.layer))} layers, {len(np.unique(self.doc))} documents, {stages})"
        )

    @property
    def n_layers(self) -> int:
        """Number of blocks L of the model."""
        return len(self.counts.table)

    @property
    def k(self) -> int:
        """Number of ranks followed, and the highest stage that is kept."""
        return self.counts.table.shape[1] - 1

    def sizes(self) -> Int[ndarray, "layer stage"]:
        """How many states there are of each stage 1 .. k at each layer."""
        sizes = np.zeros((self.n_layers, self.k), dtype=int)
        np.add.at(sizes, (self.layer, self.stage - 1), 1)
        return sizes

    def take(self, rows: Any, **changed: Any) -> "StageStates":
        """Some rows, copied; ``changed`` replaces other fields on the way."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return replace(self, **(columns | changed))

    def balanced(self, stages: int | None = None, min_states: int = MIN_STATES) -> "StageStates":
        """As many states of every stage 1 .. m at every layer used.

        Args:
            stages: m; without it the largest m for which some layer has enough states of each.
            min_states: a layer whose rarest stage has fewer is left out and named in ``skipped``.

        Raises:
            InputError: no layer has enough states of every stage (with the table of counts), or
                fewer than two stages are asked for.

        Source: the paper's balancing, Lioubashevski et al. 2025, section 4.
        """
        return matched(self, stages=stages, min_states=min_states)[0]

    def to_dict(self) -> dict[str, Any]:
        """Counts before balancing and what is used, ready for JSON (results: "labels").

        Raises:
            InputError: the states are not balanced.
        """
        if self.stages is None:
            raise InputError("Only balanced states have a summary: call .balanced() first.")
        per_stage = np.bincount(self.stage, minlength=self.stages + 1)[1:]
        return {
            **self.counts.to_dict(self.stages),
            "layers": np.unique(self.layer).tolist(),
            "skipped_layers": {str(layer): why for layer, why in self.skipped.items()},
            "states": len(self),
            "per_stage": int(per_stage[0]),
        }


def matched(
    *parts: StageStates, stages: int | None = None, min_states: int = MIN_STATES
) -> tuple[StageStates, ...]:
    """Each part with the same layers, and the same number of states of every stage at each of them.

    For controls made of other states: what is left differs in the states, not in their number.

    Raises:
        InputError: no layer has min_states states of every stage in every part (with the counts).
    """
    sizes = np.min([part.sizes() for part in parts], axis=0)
    m = _stages(sizes, stages, min_states, len(parts))
    smallest = sizes[:, :m].min(1)
    used = smallest >= min_states
    skipped = _skipped(sizes[:, :m], used, min_states)
    size = np.where(used, smallest, 0)
    return tuple(
        part.take(_lowest_keys(part, size, m), stages=m, skipped=skipped) for part in parts
    )


def _stages(sizes: ndarray, stages: int | None, min_states: int, parts: int) -> int:
    """The m asked for, or the largest for which a layer qualifies."""
    k = sizes.shape[1]
    if min_states < 1:
        raise InputError(f"min_states must be at least 1, got {min_states}.")
    if stages is not None and not 2 <= stages <= k:
        raise InputError(
            f"stages must be 2 to {k} (the states were labelled with k={k} ranks), got {stages}. "
            "A probe needs two stages to tell apart."
        )
    most = [int(sizes[:, :m].min(1, initial=10**9).max(initial=0)) for m in range(1, k + 1)]
    if stages is None:
        able = [m for m in range(2, k + 1) if most[m - 1] >= min_states]
        stages = max(able, default=0)
    if stages >= 2 and most[stages - 1] >= min_states:
        return stages
    asked = max(stages, 2)
    found = most[asked - 1] if k >= 2 else 0
    where = "" if parts == 1 else f" in each of the {parts} collections that are compared"
    raise InputError(
        f"No layer has {min_states} states of every stage 1 to {asked}{where}: the best layer has "
        f"{found} of its rarest stage.\nStates kept of each stage, by layer:\n{_table(sizes)}\n"
        "Give more text, ask for fewer stages, lower min_states (and see that per_cell is not below "
        "it), or take a deeper model."
    )


def _table(sizes: Int[ndarray, "layer stage"]) -> str:
    """The counts as text, one line a layer."""
    head = "layer " + "".join(f"{f'stage {i + 1}':>10}" for i in range(sizes.shape[1]))
    rows = [f"{layer:5d} " + "".join(f"{n:10d}" for n in row) for layer, row in enumerate(sizes)]
    return "\n".join([head, *rows])


def _skipped(sizes: ndarray, used: ndarray, min_states: int) -> dict[int, str]:
    """Why each layer that is not used is not; the last has no stages at all."""
    why = {}
    for layer in np.flatnonzero(~used).tolist():
        rarest = int(sizes[layer].argmin())
        why[layer] = (
            "every rank is fixed at the output by definition"
            if layer == len(sizes) - 1
            else f"{sizes[layer, rarest]} states of stage {rarest + 1}, fewer than {min_states}"
        )
    return why


def _lowest_keys(part: StageStates, size: Int[ndarray, " layer"], m: int) -> Int[ndarray, " row"]:
    """Rows of the ``size[layer]`` lowest keys of every stage 1 .. m, by layer, stage and key."""
    order = np.lexsort((part.key, part.stage, part.layer))
    order = order[part.stage[order] <= m]
    cell = part.layer[order].astype(int) * (m + 1) + part.stage[order]
    start = np.flatnonzero(np.diff(cell, prepend=-1))
    place = np.arange(len(cell)) - np.repeat(start, np.diff(start, append=len(cell)))
    return order[place < size[part.layer[order]]]
