"""`Evaluation`: what came of every policy, summed by document, and the numbers made of it.

With e the exit layer of a token, q_l the share of tokens that leave after block l, and per layer the mean
over ALL tokens of what the lens says there,

    agreement        the lens's top-1 at e is the full model's top-1 (ties: lower id first)
    accuracy, loss   of the lens at e against the next token of the text; loss in nats
    exit_layer       mean e;   blocks = exit_layer + 1;   layers_saved = 1 - blocks / L
    compute_saved    see `satlens.exits.cost`;   looking: the policy's own part of the full cost
    null_x           sum_l q_l mean_l(x): the same exit layers, dealt to the tokens at random
    excess           agreement - null_agreement: what knowing WHICH token leaves is worth

The null is the exact mean over all ways to shuffle the exit layers over the tokens; it looks at nothing, so
its compute has no looks in it. The first block costs one: a token that leaves after block 0 has used one
block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.exits.cost import Costs
from satlens.resampling import DRAWS, LEVEL, Intervals, bootstrap

ORACLE = "oracle (sees the answer)"
"""Leaves at the first layer whose top-1 is the final one: a bound, not a policy."""
NUMBERS = (
    "agreement", "accuracy", "loss", "exit_layer", "blocks", "layers_saved", "compute_saved", "looking",
    "null_agreement", "null_accuracy", "null_loss", "null_compute_saved", "excess",
)  # fmt: skip
_BY_DOCUMENT = (
    "doc", "tokens", "known", "full", "layer_agree", "layer_correct", "layer_loss", "layer_body"
)  # fmt: skip
_SUMS = ("agree", "correct", "loss", "body", "deciding")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Sums over the tokens of each document. Points are (policy, threshold); the oracle is the last.

    Attributes:
        names, thresholds: of each point; NaN where a policy has no threshold.
        doc, tokens, known: ``[doc]`` its number, its tokens, those whose next token is known.
        exits: ``[point, doc, layer]`` how many tokens left after each block.
        agree, correct, loss: ``[point, doc]`` at the exit.
        body, deciding: ``[point, doc]`` multiply-adds of blocks, and of looks and answers.
        layer_agree, layer_correct, layer_loss, layer_body: ``[doc, layer]`` of all tokens at one layer.
        full: ``[doc]`` multiply-adds of the full model.
        policies: as they were passed.
        notes: what a reader of the numbers must know.
    """

    names: tuple[str, ...]
    thresholds: Float[ndarray, " point"]
    doc: Int[ndarray, " doc"]
    tokens: Int[ndarray, " doc"]
    known: Int[ndarray, " doc"]
    exits: Int[ndarray, "point doc layer"]
    agree: Float[ndarray, "point doc"]
    correct: Float[ndarray, "point doc"]
    loss: Float[ndarray, "point doc"]
    body: Float[ndarray, "point doc"]
    deciding: Float[ndarray, "point doc"]
    layer_agree: Float[ndarray, "doc layer"]
    layer_correct: Float[ndarray, "doc layer"]
    layer_loss: Float[ndarray, "doc layer"]
    layer_body: Float[ndarray, "doc layer"]
    full: Float[ndarray, " doc"]
    costs: Costs
    policies: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Evaluation({int(self.tokens.sum()):,} tokens of {len(self.doc)} documents, "
            f"{self.n_layers} layers, {', '.join(self.families)})"
        )

    @property
    def n_layers(self) -> int:
        """Number of blocks L."""
        return self.exits.shape[2]

    @property
    def families(self) -> tuple[str, ...]:
        """The policies by name, each once, without the oracle."""
        return tuple(name for name in dict.fromkeys(self.names) if name != ORACLE)

    def points(self, name: str) -> list[int]:
        """The points of a policy, from the threshold that lets the fewest tokens leave downwards.

        Raises:
            InputError: no such policy in this result.
        """
        found = [i for i, own in enumerate(self.names) if own == name]
        if not found:
            raise InputError(
                f"No policy {name!r} in this result; it holds {', '.join(dict.fromkeys(self.names))}."
            )
        return sorted(found, key=lambda i: -np.nan_to_num(self.thresholds[i]))

    def take(self, doc: Sequence[int] | Int[ndarray, " n"]) -> "Evaluation":
        """The same of some documents, by their numbers: to calibrate on some and to test on others.

        Raises:
            InputError: a number that is not in ``doc``, or twice.
        """
        wanted = np.asarray(doc)
        unknown = sorted(set(wanted.tolist()) - set(self.doc.tolist()))
        if unknown or len(set(wanted.tolist())) < len(wanted) or not len(wanted):
            raise InputError(
                f"take needs documents of this result, each once; got {wanted.tolist()[:10]}, of which "
                f"{unknown[:10]} are not in it."
            )
        rows = np.searchsorted(self.doc, np.sort(wanted))
        kept = {name: getattr(self, name)[:, rows] for name in ("exits", *_SUMS)}
        kept |= {name: getattr(self, name)[rows] for name in _BY_DOCUMENT}
        return replace(self, **kept)

    def sums(self, points: Sequence[int]) -> Float[ndarray, "doc m"]:
        """All that `numbers_of` needs of these points, one row a document."""
        per_point = [
            np.concatenate(
                [np.stack([getattr(self, name)[i] for name in _SUMS], 1), self.exits[i]], 1
            )
            for i in points
        ]
        layers = [self.layer_agree, self.layer_correct, self.layer_loss, self.layer_body]
        whole = np.stack([self.tokens, self.known, self.full], axis=1)
        return np.concatenate([whole, *layers, *per_point], axis=1).astype(float)

    def numbers_of(self, sums: Float[ndarray, "*draw m"]) -> Float[ndarray, "*draw point number"]:
        """`NUMBERS` of every point, from (re-weighted) sums over documents as `sums` lays them out."""
        L = self.n_layers
        tokens, known, full = (sums[..., i, None] for i in range(3))
        by_layer = sums[..., 3 : 3 + 4 * L].reshape(*sums.shape[:-1], 1, 4, L)
        points = sums[..., 3 + 4 * L :].reshape(*sums.shape[:-1], -1, len(_SUMS) + L)
        agree, correct, loss, body, deciding = (points[..., i] for i in range(len(_SUMS)))
        exits = points[..., len(_SUMS) :]
        share = exits / tokens[..., None]
        dealt = (by_layer * share[..., None, :]).sum(-1)  # [*draw, point, 4]
        exit_layer = share @ np.arange(L)
        answers = exits @ self.costs.look
        agreement, null = agree / tokens, dealt[..., 0] / tokens
        found = {
            "agreement": agreement,
            "accuracy": correct / known,
            "loss": loss / known,
            "exit_layer": exit_layer,
            "blocks": exit_layer + 1,
            "layers_saved": 1 - (exit_layer + 1) / L,
            "compute_saved": 1 - (body + deciding) / full,
            "looking": (deciding - answers) / full,
            "null_agreement": null,
            "null_accuracy": dealt[..., 1] / known,
            "null_loss": dealt[..., 2] / known,
            "null_compute_saved": 1 - (dealt[..., 3] + answers) / full,
            "excess": agreement - null,
        }
        return np.stack([found[name] for name in NUMBERS], axis=-1)

    def values(self, points: Sequence[int] | None = None) -> Float[ndarray, "point number"]:
        """`NUMBERS` of some points (all of them), without intervals."""
        points = range(len(self.names)) if points is None else points
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.numbers_of(self.sums(points).sum(0))

    def estimates(
        self,
        points: Sequence[int] | None = None,
        *,
        draws: int = DRAWS,
        level: float = LEVEL,
        seed: int = DEFAULT_SEED,
    ) -> Intervals:
        """`NUMBERS` of some points (all of them), ``[point, number]``, with intervals over documents."""
        points = range(len(self.names)) if points is None else points
        how: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
        return bootstrap(self.sums(points), self.numbers_of, **how)

    def table(
        self,
        *,
        intervals: bool = False,
        draws: int = DRAWS,
        level: float = LEVEL,
        seed: int = DEFAULT_SEED,
    ):
        """A pandas frame, one row a point: policy, threshold, and the `NUMBERS` of the module.

        With ``intervals`` there are columns ``x_low`` and ``x_high`` beside each number x.
        """
        import pandas as pd

        columns: dict[str, Any] = {"policy": self.names, "threshold": self.thresholds}
        if not intervals:
            columns |= dict(zip(NUMBERS, self.values().T, strict=True))
            return pd.DataFrame(columns)
        made = self.estimates(draws=draws, level=level, seed=seed)
        for i, name in enumerate(NUMBERS):
            columns[name] = made.value[:, i]
            columns[f"{name}_low"], columns[f"{name}_high"] = made.low[:, i], made.high[:, i]
        return pd.DataFrame(columns)
