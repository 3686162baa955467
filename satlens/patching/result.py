"""`PatchingResult`: what came out of every patch, and the estimates made of it.

With s the saturation layers of the patched run (towards its own final ranking t), s' the running maximum over
ranks, and s(0), t(0) those of the clean run of the same recipient through the same code:

    published     s_1 = l and t_1 = t_1(0)         the paper's rule for success
    kept          t_1 = t_1(0)
    advance_i     s'_i(0) - s'_i                   layers by which rank i settles earlier
    stay_i        s'_i - s'_{i-1}                  layers spent in stage i  (s'_0 = -1)
    own_rank2     t_2 = t_2(0)
    donor_rank2   t_2 = t_2 of the token whose state was put in
    forced        s'_2 < s'_2(0), t_1 = t_1(0) and t_2 = t_2(0), over the runs where the state put in comes
                  from a token of another rank 2: stage 2 ends earlier, with the recipient's own answers

A rank seen fixed only at the output counts as L - 1, so advance is a difference of restricted means.

The published rule is close to circular. Before the donor's saturation layer it can hardly be met: the state
put in does not decode to the answer yet. From that layer on it is met by construction: the state put in
decodes to the answer, and only has to stay so. What tells something is the rate that the controls reach under
the same rule, and what becomes of rank 2. An early rank 2 by itself tells little either: it may be the rank 2
of the donor, whose state goes on as it did at home, and in tokens whose rank 1 is late rank 2 is late as
well. "forced" counts only a rank 2 that the state put in did not bring along.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from satlens.errors import InputError
from satlens.patching.effects import USUAL, Resampling, effect_over, mean_over, strictest
from satlens.patching.jobs import Outcome
from satlens.patching.pairs import Pairs
from satlens.resampling import Estimate, Intervals
from satlens.saturation.stages import settled

CLEAN = "clean"
OUTCOMES = ("published", "kept", "advance", "stay", "own_rank2", "donor_rank2", "forced")
BRING_NOTHING = (CLEAN, "self", "random_direction")
"""Conditions in which no other token's rank 2 can be brought along."""


@dataclass(frozen=True, eq=False)
class PatchingResult:
    """One row a patched run; the arrays of one length lie side by side.

    Attributes:
        pairs: donors and recipients.
        offsets: the offsets tried.
        conditions: the names of `satlens.patching.CONDITIONS` that were run.
        condition, pair, offset: ``[run]`` which run it is.
        layer: ``[run]`` the patched layer l.
        source: ``[run]`` row, in ``pairs.events``, of the token whose state was put in; -1 for a
            random direction.
        new: ``[run, k]`` saturation layers and final ranking of the patched run.
        clean: ``[pair, k]`` the same of the clean run of each recipient.
        left_out: per offset, how many pairs have no such layer inside the model.
        settings: what made the result.
    """

    pairs: Pairs
    offsets: tuple[int, ...]
    conditions: tuple[str, ...]
    condition: ndarray
    pair: Int[ndarray, " run"]
    offset: Int[ndarray, " run"]
    layer: Int[ndarray, " run"]
    source: Int[ndarray, " run"]
    new: Outcome
    clean: Outcome
    n_layers: int
    left_out: Mapping[int, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pair)

    def __repr__(self) -> str:
        return (
            f"PatchingResult({len(self):,} runs, {len(self.pairs)} pairs, offsets {list(self.offsets)}, "
            f"{', '.join(self.conditions)})"
        )

    @property
    def k(self) -> int:
        """Number of ranks followed."""
        return self.new.layer.shape[1]

    @property
    def doc(self) -> Int[ndarray, " pair"]:
        """The recipients' documents: the units of every interval."""
        return self.pairs.doc

    def to_frame(self):
        """A pandas frame, one row a (run, rank), with the clean run beside it.

        Columns: condition, pair, offset, patched, doc, pos, rank (from 1), layer, token, clean_layer,
        clean_token. ``patched`` is the patched layer.
        """
        import pandas as pd

        n, k = self.new.layer.shape
        recipient = self.pairs.recipient[self.pair]
        one = {
            "condition": self.condition, "pair": self.pair, "offset": self.offset,
            "patched": self.layer, "doc": self.pairs.events.doc[recipient],
            "pos": self.pairs.events.pos[recipient],
        }  # fmt: skip
        columns = {name: np.repeat(values, k) for name, values in one.items()}
        columns["rank"] = np.tile(np.arange(1, k + 1), n)
        columns["layer"], columns["token"] = self.new.layer.ravel(), self.new.token.ravel()
        columns["clean_layer"] = self.clean.layer[self.pair].ravel()
        columns["clean_token"] = self.clean.token[self.pair].ravel()
        return pd.DataFrame(columns)

    def values(self, outcome: str, condition: str) -> Float[ndarray, "pair offset ..."]:
        """One outcome of every run of a condition, NaN where there was none.

        Shape ``[pair, offset]``; ``[pair, offset, k]`` for "advance" and "stay". The condition "clean" is
        the clean run, set beside every offset that a pair was patched at.
        """
        if outcome not in OUTCOMES:
            raise InputError(f"Unknown outcome {outcome!r}; known are {', '.join(OUTCOMES)}.")
        chosen, outcomes = self._runs(condition)
        per_run = _values(outcome, self, chosen, outcomes, condition)
        shape = (len(self.pairs), len(self.offsets), *per_run.shape[1:])
        dense = np.full(shape, np.nan)
        column = np.searchsorted(self.offsets, self.offset[chosen])
        dense[self.pair[chosen], column] = per_run
        return dense

    def _runs(self, condition: str) -> tuple[Int[ndarray, " chosen"], Outcome]:
        """Which runs belong to a condition, and how they came out."""
        if condition == CLEAN:
            grid = self.pair * len(self.offsets) + np.searchsorted(self.offsets, self.offset)
            _, chosen = np.unique(grid, return_index=True)
            pair = self.pair[chosen]
            return chosen, Outcome(self.clean.layer[pair], self.clean.token[pair])
        if condition not in self.conditions:
            known = ", ".join((CLEAN, *self.conditions))
            raise InputError(f"No condition {condition!r} in this result; it holds {known}.")
        chosen = np.flatnonzero(self.condition == condition)
        return chosen, Outcome(self.new.layer[chosen], self.new.token[chosen])

    def count(self, condition: str) -> list[int]:
        """Pairs that were run, per offset."""
        return (~np.isnan(self.values("kept", condition))).sum(0).tolist()

    def estimate(self, outcome: str, condition: str, how: Resampling = USUAL) -> Intervals:
        """The mean of an outcome per offset, ``[offset]`` or ``[offset, k]``, over documents."""
        return mean_over(self.values(outcome, condition), self.doc, how)

    def excess(
        self,
        control: str,
        outcome: str = "forced",
        rank: int = 2,
        how: Resampling = USUAL,
    ) -> Intervals:
        """Paired minus a control per offset, over the pairs that were run in both."""
        own, other = (self._of_rank(outcome, name, rank) for name in ("paired", control))
        return effect_over(own, other, self.doc, how)

    def strictest(
        self,
        controls: tuple[str, ...],
        outcome: str = "forced",
        *,
        offset: int = 0,
        rank: int = 2,
        how: Resampling = USUAL,
    ) -> tuple[str | None, Estimate]:
        """Paired minus the strictest control at one offset, the strictest found in every draw."""
        column = self._column(offset)
        values = {
            name: self._of_rank(outcome, name, rank)[:, column] for name in ("paired", *controls)
        }
        return strictest(values.pop("paired"), values, self.doc, how)

    def _of_rank(self, outcome: str, condition: str, rank: int) -> Float[ndarray, "pair offset"]:
        values = self.values(outcome, condition)
        return values[..., rank - 1] if values.ndim == 3 else values

    def _column(self, offset: int) -> int:
        if offset not in self.offsets:
            raise InputError(f"Offset {offset} was not tried; tried were {list(self.offsets)}.")
        return self.offsets.index(offset)


def _values(
    outcome: str, result: PatchingResult, chosen: ndarray, new: Outcome, condition: str
) -> Shaped[ndarray, "chosen ..."]:
    """The letters of the module, run by run."""
    pair, clean = result.pair[chosen], result.clean
    kept = new.token[:, 0] == clean.token[pair, 0]
    after = settled(new.layer).astype(float)
    if outcome == "published":
        return (new.layer[:, 0] == result.layer[chosen]) & kept
    if outcome == "kept":
        return kept
    if outcome == "advance":
        return settled(clean.layer[pair]) - after
    if outcome == "stay":
        return np.diff(after, axis=1, prepend=-1.0)
    own = new.token[:, 1] == clean.token[pair, 1]
    if outcome == "own_rank2":
        return own
    source = np.full(len(chosen), -1) if condition == CLEAN else result.source[chosen]
    events = result.pairs.events
    if events.k < 2:
        return np.full(len(chosen), np.nan)
    brought = events.token[source, 1]
    if outcome == "forced":
        done = (kept & own & (after[:, 1] < settled(clean.layer[pair])[:, 1])).astype(float)
        if condition in BRING_NOTHING:
            return done
        return np.where(brought == clean.token[pair, 1], np.nan, done)
    return np.where(source < 0, np.nan, (new.token[:, 1] == brought).astype(float))
