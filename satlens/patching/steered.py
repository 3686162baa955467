"""`SteeringResult`: what came out of every push, and the dose-response curve (see `steer`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.errors import InputError
from satlens.patching.directions import Directions
from satlens.patching.effects import USUAL, Resampling, effect_over, mean_over, strictest
from satlens.patching.jobs import Outcome
from satlens.resampling import Estimate, Intervals
from satlens.saturation.events import SaturationEvents
from satlens.saturation.stages import settled

OUTCOMES = ("forced", "transition", "advance", "kept")


@dataclass(frozen=True, eq=False)
class SteeringResult:
    """One row a steered run; the arrays of one length lie side by side.

    Attributes:
        events: the clean events; recipient: ``[unit]`` rows of them; at: ``[unit]`` the layer l.
        stage: i, the stage that the recipients are in.
        alphas: the strengths, ascending.
        conditions: the directions that were tried.
        condition, unit, alpha: ``[run]`` which run it is.
        new: ``[run, k]`` saturation layers and final ranking of the steered run.
        clean: ``[unit, k]`` the same of the clean run of each recipient.
        directions: what was added, by half of the documents and layer.
    """

    events: SaturationEvents
    stage: int
    recipient: Int[ndarray, " unit"]
    at: Int[ndarray, " unit"]
    alphas: tuple[float, ...]
    conditions: tuple[str, ...]
    condition: ndarray
    unit: Int[ndarray, " run"]
    alpha: Float[ndarray, " run"]
    new: Outcome
    clean: Outcome
    directions: Directions
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit)

    def __repr__(self) -> str:
        return (
            f"SteeringResult({len(self):,} runs, {len(self.recipient)} tokens in stage {self.stage}, "
            f"alphas {list(self.alphas)}, {', '.join(self.conditions)})"
        )

    @property
    def doc(self) -> Int[ndarray, " unit"]:
        """The recipients' documents: the units of every interval."""
        return self.events.doc[self.recipient]

    def to_frame(self):
        """A pandas frame, one row a (run, rank), with the clean run beside it.

        Columns: condition, unit, alpha, steered, doc, pos, rank (from 1), layer, token, clean_layer,
        clean_token. ``steered`` is the layer l that was pushed at.
        """
        import pandas as pd

        n, k = self.new.layer.shape
        rows = self.recipient[self.unit]
        one = {
            "condition": self.condition, "unit": self.unit, "alpha": self.alpha,
            "steered": self.at[self.unit], "doc": self.events.doc[rows],
            "pos": self.events.pos[rows],
        }  # fmt: skip
        columns = {name: np.repeat(values, k) for name, values in one.items()}
        columns["rank"] = np.tile(np.arange(1, k + 1), n)
        columns["layer"], columns["token"] = self.new.layer.ravel(), self.new.token.ravel()
        columns["clean_layer"] = self.clean.layer[self.unit].ravel()
        columns["clean_token"] = self.clean.token[self.unit].ravel()
        return pd.DataFrame(columns)

    def values(self, outcome: str, condition: str) -> Float[ndarray, "unit alpha"]:
        """One outcome of every run of a condition, NaN where there was none."""
        if outcome not in OUTCOMES:
            raise InputError(f"Unknown outcome {outcome!r}; known are {', '.join(OUTCOMES)}.")
        if condition not in self.conditions:
            raise InputError(
                f"No direction {condition!r} in this result; it holds {', '.join(self.conditions)}."
            )
        chosen = np.flatnonzero(self.condition == condition)
        unit, i = self.unit[chosen], self.stage - 1
        ends = settled(self.new.layer[chosen])[:, i].astype(float)
        began = ends <= self.at[unit] + 1
        if outcome == "transition":
            per_run = began
        elif outcome == "forced":
            own = self.new.token[chosen, : i + 1] == self.clean.token[unit, : i + 1]
            per_run = began & own.all(1)
        elif outcome == "advance":
            per_run = settled(self.clean.layer[unit])[:, i] - ends
        else:
            per_run = self.new.token[chosen, 0] == self.clean.token[unit, 0]
        dense = np.full((len(self.recipient), len(self.alphas)), np.nan)
        dense[unit, np.searchsorted(self.alphas, self.alpha[chosen])] = per_run
        return dense

    def estimate(self, outcome: str, condition: str, how: Resampling = USUAL) -> Intervals:
        """The mean of an outcome per strength, over documents."""
        return mean_over(self.values(outcome, condition), self.doc, how)

    def excess(self, control: str, outcome: str = "forced", how: Resampling = USUAL) -> Intervals:
        """The mean difference minus another direction, per strength, over the tokens that have both."""
        own, other = (self.values(outcome, name) for name in ("means", control))
        return effect_over(own, other, self.doc, how)

    def strictest(
        self,
        controls: tuple[str, ...],
        outcome: str = "forced",
        *,
        alpha: float = 1.0,
        how: Resampling = USUAL,
    ) -> tuple[str | None, Estimate]:
        """The mean difference minus the strictest control at one strength, found in every draw."""
        if alpha not in self.alphas:
            raise InputError(f"Strength {alpha} was not tried; tried were {list(self.alphas)}.")
        column = self.alphas.index(alpha)
        controls = tuple(name for name in controls if name in self.conditions)
        values = {name: self.values(outcome, name)[:, column] for name in ("means", *controls)}
        return strictest(values.pop("means"), values, self.doc, how)
