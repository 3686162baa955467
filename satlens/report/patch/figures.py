"""Paper figures of a patch, drawn from results (see `patch/schema.json`). Nothing is computed here.

The published offset plot is drawn with every control in it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.palette import LINES
from satlens.report.paper import (
    COLORS,
    Figures,
    legend_below,
    need,
    numbers,
    paper,
    save,
    spread,
    ticker_module,
)
from satlens.report.patch.tables import rank_two, shown
from satlens.report.words import CONDITION_NAMES, DIRECTION_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OFFSET_AXIS = "offset to the donor's saturation layer"
MARKERS = "osD^vPX"
"""A marker for each line; the first is the one in question, filled."""


def published_success(results: Mapping[str, Any]) -> "Figure":
    """The published offset plot: share of pairs that pass its rule, with every control beside."""
    return _by_offset(results, "Published success (near-circular rule)", lambda one: one["published"],
                      "share of pairs")  # fmt: skip


def rank_two_forced(results: Mapping[str, Any]) -> "Figure":
    """The share of pairs whose own rank 2 settles earlier, by offset, with every control beside."""
    return _by_offset(
        results, "Own rank 2 settles earlier", lambda one: one["forced"], "share of pairs"
    )


def rank_two_advance(results: Mapping[str, Any]) -> "Figure":
    """Layers by which rank 2 settles earlier, by offset, with every control beside."""
    if need(results, "patching", "k") < 2:
        raise InputError("These results follow one rank; the advance of rank 2 cannot be drawn.")
    return _by_offset(results, "Does rank 2 settle earlier?", rank_two, "layers earlier")


def top1_kept(results: Mapping[str, Any]) -> "Figure":
    """The share of pairs whose final top-1 is unchanged, by offset, with every control beside."""
    return _by_offset(results, "Top-1 kept", lambda one: one["kept"], "share of pairs")


def dose_response(results: Mapping[str, Any]) -> "Figure":
    """The share of tokens forced into the next stage by strength, every direction."""
    return _by_alpha(results, "forced", "Stage {} ends at the next layer, answer kept")


def dose_transition(results: Mapping[str, Any]) -> "Figure":
    """The share of transitions by strength, to whatever answer, every direction."""
    return _by_alpha(results, "transition", "Stage {} ends at the next layer")


def dose_kept(results: Mapping[str, Any]) -> "Figure":
    """The share of tokens whose final top-1 is unchanged, by strength, every direction."""
    return _by_alpha(results, "kept", "Top-1 kept, steering out of stage {}")


FIGURES: Figures = {
    "published_success": published_success, "rank_two_forced": rank_two_forced,
    "rank_two_advance": rank_two_advance, "top1_kept": top1_kept, "dose_response": dose_response,
    "dose_transition": dose_transition, "dose_kept": dose_kept,
}  # fmt: skip
"""Every figure by its file name."""


def save_figures(
    results: Mapping[str, Any],
    folder: str | os.PathLike[str],
    formats: Sequence[str] = ("png", "pdf", "svg"),
) -> list[Path]:
    """Draw every figure that these results hold the numbers for; returns the files written.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    return save(FIGURES, results, folder, formats)


def _by_offset(
    results: Mapping[str, Any], title: str, pick: Callable[[Any], Any], label: str
) -> "Figure":
    offsets = need(results, "patching", "offsets")
    conditions = shown(need(results, "patching", "conditions"), CONDITION_NAMES)
    first = {name: conditions.pop(name) for name in ("paired",) if name in conditions}
    values = {CONDITION_NAMES[name]: pick(one) for name, one in (first | conditions).items()}
    with paper(results, title, (4.8, 3.8)) as (figure, axes):
        _lines(axes, [float(offset) for offset in offsets], values, dodge=0.05)
        axes.axvline(0, color=COLORS["null"], lw=1, ls=":")
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel=OFFSET_AXIS, ylabel=label)
        legend_below(axes, 3)
    return figure


def _by_alpha(results: Mapping[str, Any], outcome: str, title: str) -> "Figure":
    alphas = need(results, "steering", "alphas")
    conditions = shown(need(results, "steering", "conditions"), DIRECTION_NAMES)
    values = {DIRECTION_NAMES[name]: one[outcome] for name, one in conditions.items()}
    with paper(results, title.format(results["steering"]["stage"]), (4.8, 3.8)) as (figure, axes):
        _lines(axes, alphas, values, dodge=0.006 * (max(alphas) - min(alphas)))
        axes.axvline(0, color=COLORS["null"], lw=1, ls=":")
        axes.set(xlabel="alpha, in lengths of the mean difference", ylabel="share of tokens")
        legend_below(axes, 3)
    return figure


def _lines(
    axes: Any, x: Sequence[float], values: Mapping[str, Sequence[Any]], dodge: float
) -> None:
    """One line a name with intervals, set side by side so that they can be told apart."""
    middle = (len(values) - 1) / 2
    for i, (name, estimates) in enumerate(values.items()):
        color = LINES["light"][i % len(LINES["light"])]
        axes.errorbar(
            [at + (i - middle) * dodge for at in x], numbers(one["value"] for one in estimates),
            yerr=spread(estimates), label=name, color=color, marker=MARKERS[i % len(MARKERS)],
            ms=5 if i == 0 else 4, mfc=color if i == 0 else "white", lw=2 if i == 0 else 1, capsize=1.5,
            elinewidth=0.8, zorder=3 if i == 0 else 2,
        )  # fmt: skip
