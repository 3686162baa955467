"""What a policy gives at a given saving: its frontier, the area under it, and paired differences.

Every (policy, threshold) is a point (x, y): x the compute (or layers) saved, y the agreement (accuracy, minus
loss). A coin tossed for each token mixes two points at any rate, and two points need no policy at all: never
to leave, (0, y_full), and always to leave after the first block, (x_0, y_0). So what can be had at saving x
is the upper concave hull,

    height(x) = max { y of mixtures of the policy's points and of these two, that save x or more }

Straight lines between neighbouring thresholds would call a policy bad for a bad threshold that nobody has to
use. But a hull read off the documents that its corners were chosen on flatters every policy that is noise. So
the documents are halved: with the mixture w(x) chosen on one half (and b the slope of the hull there), the
other half gives

    height(x) = w . y + b (x - w . x)             linear in what is measured there: it can fall below the line

and the two halves take turns, weighted by their tokens.

    area = mean of height over x in [0, x_0]
    gain = area - that of the straight line from (0, y_full) to (x_0, y_0): mixing without any policy
    saved(q) = the saving at agreement q, by the same rule with x and y exchanged

All policies of one comparison stand on the same documents, and every interval draws them again for all at
once, with the mixtures as they were chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.exits.halves import QUALITIES, SAVINGS, Entry, Halves, signed
from satlens.exits.result import Evaluation
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, bootstrap

DIGITS = 12
"""What is left of a difference of equals is rounding: it must not look like an effect."""
GRID = 21
"""Savings at which a frontier is read."""
LEVELS = (0.99, 0.95, 0.9)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Frontiers side by side.

    Attributes:
        names: of the entries, in order.
        at: ``[grid]`` savings from 0 to x_0.
        height: ``[entry, grid]`` (loss: the loss itself, the lower the better).
        area, gain: ``[entry]``.
        difference: ``[entry, entry]``, area of the row minus that of the column.
        lead: ``[entry]`` area minus the largest other one, found anew in every draw.
        levels, saved, saved_lead: ``[entry, level]``; saved_difference: ``[entry, entry, level]``. No
            levels unless the quality is agreement.

    For loss every gain and difference is turned round: above 0 is better, for all qualities.
    """

    names: tuple[str, ...]
    quality: str
    saving: str
    at: Float[ndarray, " grid"]
    height: Intervals
    area: Intervals
    gain: Intervals
    difference: Intervals
    lead: Intervals
    levels: tuple[float, ...]
    saved: Intervals
    saved_lead: Intervals
    saved_difference: Intervals
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
        InputError: an unknown name, evaluations of other documents, or costs at which an exit saves
            nothing.

    Example:
        >>> import satlens
        >>> from satlens.exits import FixedLayer, Patience
        >>> from satlens.exits.evaluate import evaluate
        >>> texts = ["Lily had a red ball.", "One day a dog ran."]
        >>> policies = [FixedLayer(4), FixedLayer(8), Patience(2), Patience(5)]
        >>> found = compare(evaluate(satlens.load_model("tiny"), texts, policies), draws=50)
        >>> found.names, found.height.value[:, 0].tolist()
        (('fixed layer', 'patience'), [1.0, 1.0])
    """
    _check(quality, saving, levels)
    if isinstance(entries, Evaluation):
        entries = {name: Entry(entries, name) for name in entries.families}
    made = {
        name: entry if isinstance(entry, Entry) else Entry(*entry)
        for name, entry in entries.items()
    }
    halves = Halves(made, quality, saving, seed)
    want = tuple(levels) if quality == "agreement" else ()
    with np.errstate(invalid="ignore", divide="ignore"):  # no accuracy where no next token is known
        grid = np.linspace(0, _top(halves), GRID)
        heights = halves.chosen(grid, swapped=False)
        lines = halves.chosen(grid, swapped=False, points=2)
        savings = halves.chosen(np.array(want), swapped=True)

    def statistic(flat: Float[ndarray, "*draw m"]) -> Float[ndarray, "*draw q"]:
        drawn = halves.drawn(flat)
        height = drawn.read(heights)
        area = _mean_height(height)
        gain = area - _mean_height(drawn.read(lines))
        saved = drawn.read(savings)
        parts = [signed(height, quality), signed(area, quality), gain, _pairs(area), _lead(area),
                 saved, np.moveaxis(_lead(np.moveaxis(saved, -1, -2)), -1, -2),
                 saved[..., :, None, :] - saved[..., None, :, :]]  # fmt: skip
        flattened = [part.reshape(*flat.shape[:-1], -1) for part in parts]
        return np.concatenate(flattened, axis=-1).round(DIGITS)

    n = len(made)
    at_levels = (n, len(want))
    shapes = [(n, GRID), (n,), (n,), (n, n), (n,), at_levels, at_levels, (n, *at_levels)]
    found = bootstrap(halves.sums, statistic, draws=draws, level=level, seed=seed)
    height, area, gain, difference, lead, saved, saved_lead, saved_difference = _split(
        found, shapes
    )
    return Comparison(
        tuple(made), quality, saving, grid, height, area, gain, difference, lead, want, saved, saved_lead,
        saved_difference,
        settings={"quality": quality, "saving": saving, "levels": list(want), "draws": draws,
                  "level": level, "seed": seed},
    )  # fmt: skip


def _top(halves: Halves) -> float:
    """x_0: what leaving after the first block saves, in the evaluation where it saves least."""
    top = min(float(x[1]) for x, _ in halves.whole())
    if not top > 0:
        raise InputError(
            f"Leaving after the first block saves {top:.1%} of the compute at these costs: there is no "
            "saving to compare at."
        )
    return top


def _mean_height(height: Float[ndarray, "*curve grid"]) -> Float[ndarray, "*curve"]:
    """The area over the grid, by trapezoids, divided by its width."""
    return (height.sum(-1) - (height[..., 0] + height[..., -1]) / 2) / (height.shape[-1] - 1)


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
        own = slice(start, start + size)
        made.append(found.map(lambda array, own=own, shape=shape: array[..., own].reshape(shape)))
        start += size
    return made


def _check(quality: str, saving: str, levels: Sequence[float]) -> None:
    for name, value, known in (("quality", quality, QUALITIES), ("saving", saving, SAVINGS)):
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}; got {value!r}.")
    bad = [one for one in levels if not 0 < one <= 1]
    if bad:
        raise InputError(f"levels are agreements above 0, at most 1; got {bad}.")
