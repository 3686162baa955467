"""Which rank a state is working on, as labels: what is kept, what is left out, and how many.

With ``s[token, i]`` the saturation layer of rank ``i`` and ``s'_i = max(s_1 .. s_i)``, ``s'_0 = -1``:

    label[token, l] = i     where s'_{i-1} < l <= s'_i        ("stage i"; the papers say "task i")
    label[token, l] = k+1   where every rank was fixed before l
    label[token, l] = 0     left out: always at l = L - 1, where every rank is fixed by definition

In a token whose ranks are fixed in order, ``s' = s``. What to do with the others is a choice that moves
the numbers, so each is named, counted and reported:

    out_of_order   s_i > s_{i+1} for some i     "running_max": a rank fixed early waits for those above it
                                                "drop": the token is left out
    ties           s_i = s_{i+1} < L - 1        "skip": stage i+1 has no layer in this token
                                                "drop": the token is left out
    censored       the stage ends at L - 1      "keep": rank i was certainly not fixed before
                                                "drop": the state is left out
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from satlens.conventions import is_censored
from satlens.errors import InputError
from satlens.saturation.events import SaturationEvents
from satlens.saturation.stages import settled, stage_of

CHOICES = {
    "out_of_order": ("running_max", "drop"),
    "ties": ("skip", "drop"),
    "censored": ("keep", "drop"),
}
LEFT_OUT = ("output layer", "out of order", "tied", "censored")
"""Why a state has no label, in the order in which the reasons are asked."""


@dataclass(frozen=True)
class Policy:
    """What becomes of tokens and states whose stage can be read in more than one way."""

    out_of_order: str = "running_max"
    ties: str = "skip"
    censored: str = "keep"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} must be one of {', '.join(map(repr, choices))}; got "
                    f"{getattr(self, name)!r}."
                )

    def to_dict(self) -> dict[str, str]:
        """The three choices by name."""
        return {name: getattr(self, name) for name in CHOICES}


@dataclass(frozen=True, eq=False)
class StageCounts:
    """How many tokens and states there were, and why some have no label. Counts of parts add up.

    Attributes:
        documents: the numbers of the documents.
        out_of_order: tokens with a rank fixed before a higher one.
        tied: tokens with two neighbouring ranks fixed at one layer (below the last).
        censored: ``[k]`` tokens in which this rank was seen fixed only at the output.
        left_out: ``[reason]`` states without a label, by the first of `LEFT_OUT` that applies.
        table: ``[layer, stage]`` states of each stage 1 .. k + 1.
    """

    policy: Policy
    tokens: int
    documents: frozenset[int]
    out_of_order: int
    tied: int
    censored: Int[ndarray, " k"]
    left_out: Int[ndarray, " reason"]
    table: Int[ndarray, "layer stage"]

    def __add__(self, other: "StageCounts") -> "StageCounts":
        """The counts of both parts together (tokens of both must differ)."""
        if self.policy != other.policy or self.table.shape != other.table.shape:
            raise InputError(
                "Counts of stages add up only for one policy, one k and one number of layers; got "
                f"{self.policy}, (layers, stages) {self.table.shape} and {other.policy}, "
                f"{other.table.shape}."
            )
        summed = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("tokens", "out_of_order", "tied", "censored", "left_out", "table")
        }
        return replace(self, documents=self.documents | other.documents, **summed)

    def to_dict(self, stages: int | None = None) -> dict[str, Any]:
        """Ready for JSON; ``stages`` m cuts the table to stages 1 .. m (all k + 1 without it)."""
        m = self.table.shape[1] if stages is None else stages
        return {
            "policy": self.policy.to_dict(),
            "tokens": self.tokens,
            "documents": len(self.documents),
            "stages": m,
            "chance": 1 / m,
            "out_of_order": self.out_of_order,
            "tied": self.tied,
            "censored": self.censored.tolist(),
            "left_out": dict(zip(LEFT_OUT, self.left_out.tolist(), strict=True)),
            "counts": self.table[:, :m].tolist(),
        }


@dataclass(frozen=True, eq=False)
class StageLabels:
    """The stage of every state, and the counts that go with it.

    Attributes:
        label: ``[token, layer]`` 1 .. k for the stages, k + 1 after the last, 0 where left out.
        counts: tokens, states and reasons (`StageCounts`).
    """

    label: Int[ndarray, "token layer"]
    counts: StageCounts = field(repr=False)

    @property
    def policy(self) -> Policy:
        """The choices that made the labels."""
        return self.counts.policy

    def table(self) -> Int[ndarray, "layer stage"]:
        """How many states of each stage 1 .. k + 1 there are at each layer."""
        return self.counts.table.copy()

    def to_dict(self, stages: int | None = None) -> dict[str, Any]:
        """The counts, ready for JSON (see `StageCounts.to_dict`)."""
        return self.counts.to_dict(stages)


def stage_labels(
    events: SaturationEvents,
    *,
    out_of_order: str = "running_max",
    ties: str = "skip",
    censored: str = "keep",
) -> StageLabels:
    """Which stage each residual state is in: the rank that is not fixed yet.

    Args:
        events: what `satlens.detect` gives.
        out_of_order: "running_max" or "drop" (see the module).
        ties: "skip" or "drop".
        censored: "keep" or "drop".

    Returns:
        Labels ``[token, layer]``, int8, with their counts.

    Raises:
        InputError: an unknown choice, or more than 126 ranks.

    Source: Lioubashevski et al. 2025, section 4 ("task index"), with the policies said.

    Example:
        >>> events = SaturationEvents([[1, 3], [2, 0]], [[7, 5]] * 2, [0, 1], [0, 0], n_layers=5)
        >>> stage_labels(events).label.tolist()
        [[1, 1, 2, 2, 0], [1, 1, 1, 3, 0]]
        >>> stage_labels(events, out_of_order="drop").label[1].tolist()
        [0, 0, 0, 0, 0]
    """
    policy = Policy(out_of_order, ties, censored)
    if events.k > np.iinfo(np.int8).max - 1:
        raise InputError(f"Stages are followed for at most 126 ranks; the events have {events.k}.")
    s, n_layers = events.layer, events.n_layers
    label = stage_of(s, n_layers)
    steps = np.diff(s, axis=1)
    late = np.any(steps < 0, axis=1)
    tied = np.any((steps == 0) & ~events.censored[:, 1:], axis=1)
    reasons = np.zeros((len(LEFT_OUT), *label.shape), dtype=bool)
    reasons[0, :, -1] = True
    reasons[1] = late[:, None] & (policy.out_of_order == "drop")
    reasons[2] = tied[:, None] & (policy.ties == "drop")
    reasons[3] = _ends_censored(s, label, n_layers) & (policy.censored == "drop")
    out = reasons.any(0)
    first = reasons.argmax(0)[out]
    label = np.where(out, 0, label).astype(np.int8)
    counts = StageCounts(
        policy=policy,
        tokens=len(events),
        documents=frozenset(np.unique(events.doc).tolist()),
        out_of_order=int(late.sum()),
        tied=int(tied.sum()),
        censored=events.censored.sum(0),
        left_out=np.bincount(first, minlength=len(LEFT_OUT)),
        table=np.stack([(label == i).sum(0) for i in range(1, events.k + 2)], axis=1),
    )
    return StageLabels(label, counts)


def _ends_censored(
    s: Int[ndarray, "token k"], stage: Int[ndarray, "token layer"], n_layers: int
) -> Bool[ndarray, "token layer"]:
    """Whether the stage of a state ends in a censored rank; stage k + 1 has no end."""
    k = s.shape[1]
    ends = is_censored(settled(s), n_layers)
    return np.take_along_axis(ends, np.minimum(stage, k) - 1, axis=1) & (stage <= k)
