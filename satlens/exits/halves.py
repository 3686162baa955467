"""Mixtures of thresholds, chosen on one half of the documents and read on the other (see `frontier`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.errors import InputError
from satlens.exits.result import NUMBERS, Evaluation

QUALITIES, SAVINGS = ("agreement", "accuracy", "loss"), ("compute_saved", "layers_saved")


class Entry(NamedTuple):
    """One frontier of a comparison: a policy of an evaluation, or its null (the same exits at random)."""

    evaluation: Evaluation
    policy: str
    null: bool = False


class Mixture(NamedTuple):
    """How often each point is taken, and how y changes with x along the hull there."""

    weight: Float[ndarray, "grid point"]
    slope: Float[ndarray, " grid"]


def mixtures(
    at: Float[ndarray, " grid"], x: Float[ndarray, " point"], y: Float[ndarray, " point"]
) -> Mixture:
    """The mixtures of two points that have x of ``at`` or more, and the largest y.

    Beyond the largest x the point that has it.

    >>> chosen = mixtures(np.array([0.25]), np.array([0.0, 0.5, 0.2]), np.array([1.0, 0.5, 0.6]))
    >>> chosen.weight.tolist(), chosen.slope.tolist()
    ([[0.5, 0.5, 0.0]], [-1.0])
    """
    weight, slope = np.zeros((len(at), len(x))), np.zeros(len(at))
    for row, own in enumerate(np.minimum(at, x.max())):
        right, left = np.flatnonzero(x >= own), np.flatnonzero(x < own)
        best = right[y[right].argmax()]
        weight[row, best] = 1.0
        if not len(left):
            continue
        slopes = (y[right] - y[left, None]) / (x[right] - x[left, None])
        mixed = y[left, None] + (own - x[left, None]) * slopes
        i, j = np.unravel_index(mixed.argmax(), mixed.shape)
        if mixed[i, j] > y[best]:
            share = (own - x[left[i]]) / (x[right[j]] - x[left[i]])
            weight[row] = 0
            weight[row, left[i]], weight[row, right[j]] = 1 - share, share
            slope[row] = slopes[i, j]
    return Mixture(weight, slope)


Curve = tuple[Float[ndarray, "*draw _point"], Float[ndarray, "*draw _point"]]
"""x and y of one entry's points; entries differ in how many they have."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Mixtures of every entry, chosen on each half of the documents, to be read on the other."""

    at: Float[ndarray, " grid"]
    swapped: bool
    points: int | None
    by_half: tuple[tuple[Mixture, ...], ...]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The points of every entry in each half of (drawn) documents, and the share of each half's tokens."""

    curves: tuple[list[Curve], list[Curve]]
    share: tuple[Float[ndarray, "*draw"], Float[ndarray, "*draw"]]

    def read(self, chosen: Chosen) -> Float[ndarray, "*draw entry grid"]:
        """What the mixtures of the other half give in each, weighted by tokens."""
        total = 0.0
        for half, share in enumerate(self.share):
            found = []
            for (x, y), mixture in zip(self.curves[half], chosen.by_half[1 - half], strict=True):
                x, y = (y, x) if chosen.swapped else (x, y)
                x, y = x[..., : chosen.points], y[..., : chosen.points]
                missed = chosen.at - x @ mixture.weight.T
                found.append(y @ mixture.weight.T + mixture.slope * missed)
            total = total + share[..., None, None] * np.stack(found, axis=-2)
        return np.asarray(total)


class Halves:
    """Sums of all evaluations side by side, the documents in two halves that share none."""

    def __init__(self, made: Mapping[str, Entry], quality: str, saving: str, seed: int) -> None:
        self.entries, self.quality, self.saving = list(made.values()), quality, saving
        first = _same_documents([entry.evaluation for entry in self.entries])
        own = [one.evaluation.sums(one.evaluation.points(one.policy)) for one in self.entries]
        self.ends = np.cumsum([part.shape[1] for part in own])[:-1]
        whole = np.concatenate(own, axis=1)
        n = len(first.doc)
        half = np.zeros(n, bool)
        half[np.random.default_rng(seed).permutation(n)[: n // 2]] = True
        if n < 2:  # chosen and read on the one document there is; no interval anyway
            self.sums = np.concatenate([whole, whole], axis=1)
        else:
            self.sums = np.concatenate([whole * half[:, None], whole * ~half[:, None]], axis=1)

    def whole(self) -> list[Curve]:
        """The points over all documents."""
        left, right = np.split(self.sums.sum(0), 2)
        return self._curves(left + right)

    def chosen(
        self, at: Float[ndarray, " grid"], swapped: bool, points: int | None = None
    ) -> Chosen:
        """The mixtures of every entry on each half; of its first ``points`` only, if so said."""
        by_half = []
        for curves in self.drawn(self.sums.sum(0)).curves:
            pairs = [(y, x) if swapped else (x, y) for x, y in curves]
            by_half.append(tuple(mixtures(at, x[:points], y[:points]) for x, y in pairs))
        return Chosen(at, swapped, points, tuple(by_half))

    def drawn(self, flat: Float[ndarray, "*draw m"]) -> Drawn:
        """The points in each half."""
        halves = np.split(flat, 2, axis=-1)
        tokens = [half[..., 0] for half in halves]
        total = tokens[0] + tokens[1]
        curves = self._curves(halves[0]), self._curves(halves[1])
        return Drawn(curves, (np.asarray(tokens[0] / total), np.asarray(tokens[1] / total)))

    def _curves(self, flat: Float[ndarray, "*draw m"]) -> list[Curve]:
        parts = np.split(flat, self.ends, axis=-1)
        return [
            _points(entry, part, self.quality, self.saving)
            for entry, part in zip(self.entries, parts, strict=True)
        ]


def _same_documents(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The first of them; refuse others that are not of its documents."""
    first = evaluations[0]
    for other in evaluations[1:]:
        same = np.array_equal(first.doc, other.doc) and np.array_equal(first.tokens, other.tokens)
        if not same:
            raise InputError(
                f"Evaluations of other documents ({len(first.doc)} with {first.tokens.sum():,} tokens, "
                f"{len(other.doc)} with {other.tokens.sum():,}): paired differences need the same ones."
            )
    return first


def _points(entry: Entry, sums: Float[ndarray, "*draw m"], quality: str, saving: str) -> Curve:
    """x and y of an entry: never, always after the first block, its own points. Loss with its sign turned."""
    evaluation, null = entry.evaluation, "null_" if entry.null else ""
    numbers = evaluation.numbers_of(sums)
    x = numbers[..., NUMBERS.index(saving if saving == "layers_saved" else null + saving)]
    y = numbers[..., NUMBERS.index(null + quality)]
    tokens, known, full = (sums[..., i] for i in range(3))
    L = evaluation.n_layers
    by_layer = sums[..., 3 : 3 + 4 * L].reshape(*sums.shape[:-1], 4, L)
    at_layer = by_layer[..., QUALITIES.index(quality), :]
    at_layer = at_layer / (tokens if quality == "agreement" else known)[..., None]
    first = np.full_like(full, 1 - 1 / L)
    if saving == "compute_saved":
        first = 1 - (by_layer[..., 3, 0] + tokens * evaluation.costs.look[0]) / full
    x = np.concatenate([np.stack([np.zeros_like(full), first], axis=-1), x], axis=-1)
    y = np.concatenate([at_layer[..., [-1, 0]], y], axis=-1)
    return x, signed(y, quality)


def signed(values: ndarray, quality: str) -> ndarray:
    """Minus for loss, of which less is better."""
    return -values if quality == "loss" else values
