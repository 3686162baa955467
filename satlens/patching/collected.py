"""The states of each stage, gathered in one pass over the inputs, for directions between stages.

What is summed needs no memory for states: the means of stage i and i + 1 at every layer, by half of the
documents. What a logistic regression needs is kept: at most some hundred states of each stage, half and
layer, chosen at random before the pass, so that the choice does not depend on batches.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.errors import InputError
from satlens.lenses import LogitLens
from satlens.models.protocol import ResidualModel
from satlens.nulls.block import PATH_NULLS
from satlens.patching.rows import TokenIndex, read
from satlens.patching.stage_sums import NullSums, StageSums, groups
from satlens.saturation.events import SaturationEvents
from satlens.saturation.stages import stage_of


@dataclass(frozen=True, eq=False)
class Labelled:
    """The tokens, the half of each, and the group (0, 1, -1) of each of their states."""

    events: SaturationEvents
    half: Int[ndarray, " token"]
    group: Int[ndarray, "token layer"]

    @staticmethod
    def of(events: SaturationEvents, half: ndarray, stage: int) -> "Labelled":
        """The groups of stage i and i + 1."""
        return Labelled(events, half, groups(stage_of(events.layer, events.n_layers), stage))

    def shuffled(self, rng: np.random.Generator) -> Int[ndarray, "token layer"]:
        """The two stages shuffled among the states of a layer and half that are in one of them."""
        group = self.group.copy()
        for half in (0, 1):
            for layer in range(group.shape[1]):
                rows = np.flatnonzero((self.half == half) & (group[:, layer] >= 0))
                group[rows, layer] = rng.permutation(group[rows, layer])
        return group

    def picked(self, per_cell: int, rng: np.random.Generator) -> Bool[ndarray, "token layer"]:
        """At most ``per_cell`` random states of each half, layer and stage."""
        picked, order = np.zeros(self.group.shape, bool), rng.permutation(len(self.group))
        cell = np.where(self.group >= 0, 2 * self.half[:, None] + self.group, -1)
        for one in range(4):
            member = cell[order] == one
            picked[order] |= member & (member.cumsum(0) <= per_cell)
        return picked


class Collected:
    """Sums of states by label, and some of the states, from one pass over the inputs."""

    def __init__(
        self, model: ResidualModel, tokens: Labelled, kinds: Sequence[str], stage: int, seed: int
    ) -> None:
        self.model, self.tokens = model, tokens
        self.sums: dict[str, list[StageSums]] = {}
        self.labels: dict[str, list[ndarray]] = {}
        self.missing: dict[str, str] = {}
        self.label("means", tokens.group)
        nulls = [name for name in PATH_NULLS if name in kinds]
        self.nulls = NullSums(LogitLens(model), nulls, stage, seed) if nulls else None
        self.chosen: ndarray | None = None
        self.states: dict[int, list[Tensor]] = {}
        self.rows: dict[int, list[ndarray]] = {}

    def label(self, name: str, group: Int[ndarray, "token layer"]) -> None:
        """Sum the states by this grouping of them, one more of this name."""
        sums = StageSums(self.tokens.events.n_layers, self.model.d_model)
        self.labels.setdefault(name, []).append(group)
        self.sums.setdefault(name, []).append(sums)

    def pick(self, chosen: Bool[ndarray, "token layer"]) -> None:
        """Keep these states."""
        self.chosen = chosen

    @torch.no_grad()
    def read(self, inputs: Any, progress: bool) -> None:
        """One pass of the model over the inputs."""
        events, found = self.tokens.events, 0
        index = TokenIndex.of(events.doc, events.pos)
        total = len(events)
        with tqdm(total=total, desc="directions", unit=" tokens", disable=not progress) as bar:
            for batch in read(self.model, inputs):
                states = self.model.states(batch)
                rows = index.find(states.doc.cpu().numpy(), states.pos.cpu().numpy())
                known = np.flatnonzero(rows >= 0)
                if len(known):
                    at = torch.tensor(known, device=states.resid.device)
                    self._add(states.resid[:, at], rows[known])
                found += len(known)
                bar.update(len(known))
        if found < total:
            raise InputError(
                f"{total - found:,} of {total:,} events are of tokens that are not in the inputs. "
                "Directions are estimated on the inputs of the events: detect them again."
            )
        if self.nulls is not None:
            drawn, self.missing = self.nulls.finish()
            self.sums |= {name: [sums] for name, sums in drawn.items()}

    def _add(self, resid: Float[Tensor, "layer token d"], rows: Int[ndarray, " token"]) -> None:
        half = self.tokens.half[rows]
        for name, several in self.sums.items():
            for group, sums in zip(self.labels[name], several, strict=True):
                sums.add(resid, group[rows], half)
        if self.chosen is not None:
            for layer in np.flatnonzero(self.chosen[rows].any(0)).tolist():
                kept = np.flatnonzero(self.chosen[rows, layer])
                states = resid[layer, torch.tensor(kept, device=resid.device)]
                self.states.setdefault(layer, []).append(states.float().cpu())
                self.rows.setdefault(layer, []).append(rows[kept])
        if self.nulls is not None:
            self.nulls.update(resid, self.tokens.events[rows], half)

    def normals(self, enough: Bool[ndarray, "half layer"]) -> Float[ndarray, "half layer d"]:
        """The normal of a logistic regression for each half and layer with enough states."""
        normals = np.full((*enough.shape, self.model.d_model), np.nan)
        for half, layer in np.argwhere(enough):
            rows = np.concatenate(self.rows[layer])
            mine = self.tokens.half[rows] == half
            x = torch.cat(self.states[layer]).numpy()[mine]
            normals[half, layer] = logistic_normal(x, self.tokens.group[rows[mine], layer])
        return normals


def logistic_normal(x: Float[ndarray, "n d"], y: Int[ndarray, " n"]) -> Float[ndarray, " d"]:
    """The normal of a logistic regression on standardised states, back in coordinates of the state."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = x.std(0)
    scale[scale == 0] = 1.0
    fit = LogisticRegression(class_weight="balanced", max_iter=500)
    with warnings.catch_warnings():
        # A normal that is not quite converged is still a direction, and is judged by what it does.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit.fit((x - x.mean(0)) / scale, y)
    return fit.coef_[0] / scale
