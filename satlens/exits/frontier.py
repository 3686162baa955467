"""What a policy gives at a given saving: its frontier, the area under it, and paired differences.

Every (policy, threshold) is a point (x, y): x the compute (or layers) saved, y the agreement (accuracy,
minus loss). A coin tossed for each token mixes two points at any rate, and the full model, (0, y_full),
needs no policy at all; so what can be had at saving x is

    height(x) = max { y of mixtures of points and (0, y_full) that save x or more }

the upper concave hull, not increasing. Straight lines between neighbouring thresholds would call a policy
bad for a bad threshold that nobody has to use; the hull asks only for thresholds worth using. The price:
its corners are chosen on the documents it is read from, which lifts it by a little (the intervals choose
them anew in every draw).

    area  = mean of height over x in [0, X],     X = the largest saving that every policy compared can reach
    saved(q) = the largest x with height(x) >= q

All policies of one comparison stand on the same documents, and every interval draws them again for all at
once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.exits.result import NUMBERS, Evaluation
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, bootstrap

GRID = 41
"""Savings at which a frontier is read."""
LEVELS = (0.99, 0.95, 0.9)
QUALITIES, SAVINGS = ("agreement", "accuracy", "loss"), ("compute_saved", "layers_saved")


class Entry(NamedTuple):
    """One frontier of a comparison: a policy of an evaluation, or its null (the same exits at random)."""

    evaluation: Evaluation
    policy: str
    null: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """Frontiers side by side.

    Attributes:
        names: of the entries, in order.
        at: ``[grid]`` savings from 0 to X.
        height: ``[entry, grid]`` (loss: the loss itself, the lower the better).
        area: ``[entry]``. difference: ``[entry, entry]``, area of the row minus that of the column.
        lead: ``[entry]`` area minus the largest other one, found anew in every draw.
        levels, saved: ``[entry, level]``; saved_difference: ``[entry, entry, level]``. Agreement only.

    For loss every difference is turned round: above 0 is better, for all qualities.
    """

    names: tuple[str, ...]
    quality: str
    saving: str
    at: Float[ndarray, " grid"]
    height: Intervals
    area: Intervals
    difference: Intervals
    lead: Intervals
    levels: tuple[float, ...]
    saved: Intervals | None
    saved_difference: Intervals | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def over(self, name: str, other: str) -> Estimate:
        """The area of one minus that of another."""
        return self.difference[self._index(name), self._index(other)]

    def best_other(self, name: str) -> str:
        """The entry with the largest area beside this one."""
        own = self._index(name)
        sign = -1 if self.quality == "loss" else 1
        area = sign * self.area.value.copy()
        area[own] = -np.inf
        return self.names[int(area.argmax())]

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(
                f"No entry {name!r} in this comparison; it holds {', '.join(self.names)}."
            )
        return self.names.index(name)


def compare(
    entries: Mapping[str, Entry | tuple[Evaluation, str]] | Evaluation,
    *,
    quality: str = "agreement",
    saving: str = "compute_saved",
    levels: Sequence[float] = LEVELS,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Comparison:
    """Frontiers of several policies on the same documents, and how far apart they are.

    Args:
        entries: by name, an `Entry` or (evaluation, policy); or an evaluation: all of its policies.
        quality: "agreement", "accuracy" or "loss". saving: "compute_saved" or "layers_saved".
        levels: agreements to read ``saved`` at.
        draws, level, seed: of the bootstrap over documents.

    Raises:
        InputError: an unknown name, evaluations of other documents, or policies that save nothing.

    Example:
        >>> import satlens
        >>> from satlens.exits import FixedLayer, Patience, compare, evaluate
        >>> texts = ["Lily had a red ball.", "One day a dog ran."]
        >>> policies = [FixedLayer(4), FixedLayer(8), Patience(2), Patience(5)]
        >>> found = compare(evaluate(satlens.load_model("tiny"), texts, policies), draws=50)
        >>> found.names, found.height.value[:, 0].tolist()
        (('fixed layer', 'patience'), [1.0, 1.0])
    """
    _check(quality, saving, levels)
    if isinstance(entries, Evaluation):
        entries = {name: Entry(entries, name) for name in entries.families}
    made = {name: Entry(*entry) for name, entry in entries.items()}
    sums, curves = _together(made, quality, saving)
    top = min(float(x.max()) for x, _ in curves(sums.sum(0)))
    if not top > 0:
        raise InputError(
            "One of the policies saves nothing at any of its thresholds, so there is no saving to compare "
            "at. Add thresholds at which more tokens leave (satlens.exits.sweep)."
        )
    grid = np.linspace(0, top, GRID)
    want = tuple(levels) if quality == "agreement" else ()

    def statistic(flat: Float[ndarray, "*draw m"]) -> Float[ndarray, "*draw q"]:
        found = curves(flat)
        height = np.stack([envelope(grid, x, y) for x, y in found], axis=-2)
        area = np.trapezoid(height, dx=1.0, axis=-1) / (GRID - 1)
        parts = [_signed(height, quality), _signed(area, quality), _pairs(area), _lead(area)]
        if want:
            saved = np.stack([envelope(np.array(want), y, x) for x, y in found], axis=-2)
            parts += [saved, saved[..., :, None, :] - saved[..., None, :, :]]
        lead = flat.shape[:-1]
        return np.concatenate([part.reshape(*lead, -1) for part in parts], axis=-1)

    n = len(made)
    shapes = [(n, GRID), (n,), (n, n), (n,), (n, len(want)), (n, n, len(want))]
    found = bootstrap(sums, statistic, draws=draws, level=level, seed=seed)
    parts = _split(found, shapes if want else shapes[:4])
    return Comparison(
        tuple(made), quality, saving, grid, *parts[:4], want,
        *(parts[4:] if want else (None, None)),
        settings={"quality": quality, "saving": saving, "levels": list(want), "draws": draws,
                  "level": level, "seed": seed},
    )  # fmt: skip


def envelope(
    at: Float[ndarray, " grid"], x: Float[ndarray, "*draw point"], y: Float[ndarray, "*draw point"]
) -> Float[ndarray, "*draw grid"]:
    """The largest y of mixtures of two points whose x is ``at`` or more; past the last point its own y.

    >>> envelope(np.array([0.0, 0.25, 0.5]), np.array([0.0, 0.5, 0.2]), np.array([1.0, 0.5, 0.6])).tolist()
    [1.0, 0.75, 0.5]
    """
    x, y = (values[..., None, :] for values in (x, y))
    at = np.minimum(at[:, None], x.max(-1, keepdims=True))
    right = x >= at
    best = np.where(right, y, -np.inf).max(-1)
    for i in range(x.shape[-1]):  # from point i, left of at, towards every point right of it
        xi, yi = x[..., i : i + 1], y[..., i : i + 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            mixed = yi + (at - xi) / (x - xi) * (y - yi)
        mixed = np.where(right & (xi < at), mixed, -np.inf)
        best = np.maximum(best, mixed.max(-1))
    return best


def _together(made: Mapping[str, Entry], quality: str, saving: str):
    """Sums of all evaluations side by side, and a function from them to the points of every entry."""
    evaluations = list({id(entry.evaluation): entry.evaluation for entry in made.values()}.values())
    first = evaluations[0]
    for other in evaluations[1:]:
        if not (
            np.array_equal(first.doc, other.doc) and np.array_equal(first.tokens, other.tokens)
        ):
            raise InputError(
                f"Evaluations of other documents ({len(first.doc)} with {first.tokens.sum():,} tokens, "
                f"{len(other.doc)} with {other.tokens.sum():,}): paired differences need the same ones."
            )
    blocks, at, start = [], {}, 0
    for name, entry in made.items():
        own = entry.evaluation.sums(entry.evaluation.points(entry.policy))
        blocks.append(own)
        at[name] = slice(start, start + own.shape[1])
        start += own.shape[1]

    def curves(flat: Float[ndarray, "*draw m"]):
        return [
            _points(entry, flat[..., at[name]], quality, saving) for name, entry in made.items()
        ]

    return np.concatenate(blocks, axis=1), curves


def _points(
    entry: Entry, sums: Float[ndarray, "*draw m"], quality: str, saving: str
) -> tuple[Float[ndarray, "*draw point"], Float[ndarray, "*draw point"]]:
    """x and y of an entry, the full model first; loss with its sign turned."""
    evaluation, null = entry.evaluation, "null_" if entry.null else ""
    numbers = evaluation.numbers_of(sums)
    x = numbers[..., NUMBERS.index(saving if saving == "layers_saved" else null + saving)]
    y = numbers[..., NUMBERS.index(null + quality)]
    last = evaluation.n_layers - 1
    layer = {"agreement": 0, "accuracy": 1, "loss": 2}[quality]
    of = sums[..., 3 + layer * (last + 1) + last]
    full = of / sums[..., 0 if quality == "agreement" else 1]
    y = np.concatenate([full[..., None], y], axis=-1)
    x = np.concatenate([np.zeros_like(full)[..., None], x], axis=-1)
    return x, _signed(y, quality)


def _signed(values: ndarray, quality: str) -> ndarray:
    """Minus for loss, of which less is better."""
    return -values if quality == "loss" else values


def _pairs(area: Float[ndarray, "*draw entry"]) -> Float[ndarray, "*draw entry entry"]:
    return area[..., :, None] - area[..., None, :]


def _lead(area: Float[ndarray, "*draw entry"]) -> Float[ndarray, "*draw entry"]:
    """Each area minus the largest other one; NaN for an entry alone."""
    n = area.shape[-1]
    if n == 1:
        return np.full_like(area, np.nan)
    others = np.where(np.eye(n, dtype=bool), -np.inf, area[..., None, :])
    return area - others.max(-1)


def _split(found: Intervals, shapes: Sequence[tuple[int, ...]]) -> list[Intervals]:
    """The parts of a flat statistic in their shapes."""
    made, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        ends = (
            part[..., start : start + size].reshape(shape)
            for part in (found.value, found.low, found.high)
        )
        made.append(
            Intervals(*ends, found.level, found.draws, found.seed, found.documents, found.note)
        )
        start += size
    return made


def _check(quality: str, saving: str, levels: Sequence[float]) -> None:
    for name, value, known in (("quality", quality, QUALITIES), ("saving", saving, SAVINGS)):
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
    bad = [one for one in levels if not 0 < one <= 1]
    if bad:
        raise InputError(f"levels are agreements above 0, at most 1; got {bad}.")
