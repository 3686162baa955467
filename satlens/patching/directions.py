"""The direction from one stage to the next, and directions that only look like it.

At layer l, over the states of the tokens of one half of the documents,

    means       v_l = mean(h_l in stage i + 1) - mean(h_l in stage i)
    probe       |v_l| n_l,  n_l the unit normal of a logistic regression between the two stages
    shuffled    |v_l| times the unit mean difference once the stages are shuffled among those tokens;
                several shuffles, since each points somewhere else
    rotated, exchanged    |v_l| times the unit mean difference of states that came another way into the
                same end (`satlens.nulls.paths`), in stages read from their own events
    random      |v_l| times a random unit vector, a fresh one for each token that is steered

Each half's directions are for the documents of the other half: a token is never steered by itself.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses import LogitLens
from satlens.models.protocol import ResidualModel
from satlens.nulls.block import PATH_NULLS
from satlens.patching.rows import TokenIndex, read
from satlens.patching.stage_sums import NullSums, StageSums, groups
from satlens.saturation.events import SaturationEvents
from satlens.saturation.stages import stage_of

KINDS = ("means", "probe", "shuffled", "random", *PATH_NULLS)
CONTROLS = ("shuffled", "random", *PATH_NULLS)
"""The directions that the mean difference must do better than."""
MIN_STATES = 20
"""States of each of the two stages, in each half, that a layer must have."""
PER_CELL = 500
"""States of each stage, half and layer that the logistic regression is fitted to, at most."""
SHUFFLES = 10


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions by half of the documents and layer; NaN where there are too few states.

    Attributes:
        stage: i; the directions lead from stage i to stage i + 1.
        docs, half: every document, ascending, and the half (0 or 1) it belongs to.
        vectors: by kind, ``[draw, half, layer, d]``, estimated on that half; all of one length at a
            layer, several draws of "shuffled" and one of all others. "random" is not among them: it
            is drawn for each token.
        counts: ``[half, layer, 2]`` states in stage i and in stage i + 1.
        missing: by kind, why it is not there at all.
    """

    stage: int
    docs: Int[ndarray, " doc"]
    half: Int[ndarray, " doc"]
    vectors: Mapping[str, Float[ndarray, "draw half layer d"]]
    counts: Int[ndarray, "half layer 2"]
    missing: Mapping[str, str] = field(default_factory=dict)

    def half_of(self, doc: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        """The half that each document belongs to."""
        return self.half[np.searchsorted(self.docs, doc)]

    @property
    def norm(self) -> Float[ndarray, "half layer"]:
        """``|v_l|``, NaN where there is no direction."""
        return np.linalg.norm(self.vectors["means"][0], axis=-1)

    @property
    def usable(self) -> Bool[ndarray, "half layer"]:
        """Where a half's mean difference is known and not nothing."""
        return self.norm > 0


def directions(
    model: ResidualModel,
    inputs: Any,
    events: SaturationEvents,
    *,
    stage: int = 1,
    kinds: Sequence[str] = KINDS,
    min_states: int = MIN_STATES,
    per_cell: int = PER_CELL,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> Directions:
    """The directions from stage i to stage i + 1 at every layer, on each half of the documents.

    Args:
        events: of these inputs; the stages are read from them.
        stage: i, from 1 to k.
        kinds: some of "means", "probe", "shuffled", "random", "rotated", "exchanged"; "means" is
            always there, since it sets the length.
        min_states: of each stage and half; layers with fewer have no direction.
        per_cell: states of each stage, half and layer that the logistic regression sees at most.

    Raises:
        InputError: fewer than 2 documents, a stage that k ranks do not have, an unknown kind, or
            events of other inputs.
    """
    kinds = check_kinds(kinds)
    check_stage(stage, events.k)
    docs, half = halves(events, seed)
    labelled = _Labelled.of(events, half[np.searchsorted(docs, events.doc)], stage)
    rng = np.random.default_rng([seed, 1])
    collected = _Collected(model, labelled, kinds, stage, seed)
    for _ in range(SHUFFLES if "shuffled" in kinds else 0):
        collected.label("shuffled", labelled.shuffled(rng))
    if "probe" in kinds:
        collected.pick(labelled.picked(per_cell, rng))
    collected.read(inputs, progress)
    count = collected.sums["means"][0].count
    enough = count.min(-1) >= min_states
    found = {name: [one.difference() for one in sums] for name, sums in collected.sums.items()}
    means = np.where(enough[..., None], found.pop("means")[0], np.nan)
    if "probe" in kinds:
        found["probe"] = [collected.normals(enough)]
    norm = np.linalg.norm(means, axis=-1, keepdims=True)
    vectors = {"means": means[None]}
    for name in (name for name in KINDS if name in found):
        vectors[name] = unit(np.stack(found[name])) * norm
    return Directions(stage, docs, half, vectors, count, collected.missing)


def unit(vectors: Float[ndarray, "*n d"]) -> Float[ndarray, "*n d"]:
    """Vectors of length 1; NaN where there is no direction."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def halves(
    events: SaturationEvents, seed: int
) -> tuple[Int[ndarray, " doc"], Int[ndarray, " doc"]]:
    """Every document, ascending, and a random half for each."""
    docs = np.unique(events.doc)
    if len(docs) < 2:
        raise InputError(
            "Directions are estimated on one half of the documents and tried on the other; found "
            f"{len(docs)} document. Give more documents, or cut this one into several."
        )
    half = np.zeros(len(docs), np.int64)
    half[np.random.default_rng([seed, 0]).permutation(len(docs))[: len(docs) // 2]] = 1
    return docs, half


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The tokens, the half of each, and the group (0, 1, -1) of each of their states."""

    events: SaturationEvents
    half: Int[ndarray, " token"]
    group: Int[ndarray, "token layer"]

    @staticmethod
    def of(events: SaturationEvents, half: ndarray, stage: int) -> "_Labelled":
        return _Labelled(events, half, groups(stage_of(events.layer, events.n_layers), stage))

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


class _Collected:
    """Sums of states by label, and some of the states, from one pass over the inputs."""

    def __init__(
        self, model: ResidualModel, tokens: _Labelled, kinds: Sequence[str], stage: int, seed: int
    ) -> None:
        self.model, self.tokens = model, tokens
        self.sums: dict[str, list[StageSums]] = {}
        self.labels: dict[str, list[ndarray]] = {}
        self.missing: dict[str, str] = {}
        self.label("means", tokens.group)
        nulls = [name for name in PATH_NULLS if name in kinds]
        self.nulls = NullSums(LogitLens(model).scores, nulls, stage, seed) if nulls else None
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


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds in the order of `KINDS`, "means" among them; refuse unknown ones."""
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    unknown = [name for name in kinds if name not in KINDS]
    if unknown or not kinds:
        raise InputError(
            f"Directions must be some of {', '.join(KINDS)}; got {', '.join(unknown) or 'none'}."
        )
    return tuple(name for name in KINDS if name in ("means", *kinds))


def check_stage(stage: int, k: int) -> None:
    """Refuse stages that k ranks do not tell apart."""
    if not 1 <= stage <= k:
        raise InputError(
            f"stage must be 1 .. {k}, since {k} ranks are followed (stage {k} leads to all of them "
            f"fixed); got {stage}."
        )
