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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.models.protocol import ResidualModel
from satlens.nulls.block import PATH_NULLS
from satlens.patching.collected import Collected, Labelled
from satlens.saturation.events import SaturationEvents

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

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> model, texts = satlens.wrap(satlens.load_model("tiny")), read_corpus("bundled").documents[:4]
        >>> found = directions(model, texts, satlens.detect(model, texts, k=2), kinds=["means"])
        >>> found.vectors["means"].shape  # draw, half, layer, d
        (1, 2, 16, 128)
    """
    kinds = check_kinds(kinds)
    check_stage(stage, events.k)
    docs, half = halves(events, seed)
    labelled = Labelled.of(events, half[np.searchsorted(docs, events.doc)], stage)
    rng = np.random.default_rng([seed, 1])
    collected = Collected(model, labelled, kinds, stage, seed)
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
