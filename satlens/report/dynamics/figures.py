"""Paper figures of a dynamics run, drawn from results (`dynamics/schema.json`). Nothing is computed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.dynamics.steps import PAPER, positions, ticks
from satlens.report.dynamics.tables import shown_nulls
from satlens.report.palette import rank_colors
from satlens.report.paper import COLORS, Figures, legend_below, numbers, paper, save, spread
from satlens.report.words import NULL_NAMES, known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING = {"value": None, "ci": None}
STEP_AXIS = "step (logarithmic, but for step 0)"


def loss_and_layers(results: Mapping[str, Any]) -> "Figure":
    """Loss above, mean saturation layer of each rank below, over the steps."""
    every = results["checkpoints"]
    if not any(known(one["loss"]["value"]) for one in every):
        raise InputError("These results hold no loss.")
    x = positions([one["step"] for one in every])
    with paper(results, "Loss and saturation layers through training", (4.6, 4.6), rows=2) as (
        figure, (above, below),
    ):  # fmt: skip
        found = [one["loss"] for one in every]
        above.errorbar(x, numbers(one["value"] for one in found), yerr=spread(found), marker="o", ms=4,
                       capsize=2, color=COLORS["model"])  # fmt: skip
        above.set(ylabel="loss, nats a token")
        ranks = every[0]["ranks"]
        for i, color in enumerate(rank_colors(len(ranks))):
            found = [one["ranks"][i]["layer"] for one in every]
            below.errorbar(x, numbers(one["value"] for one in found), yerr=spread(found), marker="o",
                           ms=3.5, capsize=2, color=color, label=f"rank {i + 1}")  # fmt: skip
        below.axhline(results["model"]["n_layers"] - 1, color=COLORS["null"], lw=1)
        below.set(ylabel="mean saturation layer\n(line: the output)")
        below.set_ylim(bottom=0)
        _step_axis(below, every)
        legend_below(below, min(len(ranks), 5))
    return figure


def excess_over_steps(results: Mapping[str, Any]) -> "Figure":
    """What the concordance has above each path null over the steps, with intervals and the line of zero."""
    every, nulls = results["checkpoints"], shown_nulls(results)
    if not nulls:
        raise InputError("These results hold no null; a concordance is not drawn by itself.")
    places = positions([one["step"] for one in every])
    apart = 0.008 * (max(places) - min(places))
    with paper(results, "Order above other ways into the same end", (4.6, 3.1)) as (figure, axes):
        for at, kind in enumerate(nulls):
            found = [one["excess"].get(kind, NOTHING) for one in every]
            x = [place + apart * (2 * at - 1) for place in places]
            axes.errorbar(x, numbers(one["value"] for one in found), yerr=spread(found), ms=4, capsize=2,
                          color=COLORS[("model", "fresh")[at % 2]], fmt=("o-", "s--")[at % 2],
                          mfc=COLORS["model"] if at == 0 else "white",
                          label=f"over {NULL_NAMES[kind]}")  # fmt: skip
        axes.axhline(0, color=COLORS["null"], lw=1, ls=":")
        axes.set(ylabel="concordance, excess")
        _step_axis(axes, every)
        legend_below(axes, 2)
    return figure


def _step_axis(axes: Any, every: Sequence[Mapping[str, Any]]) -> None:
    axes.set_xticks(*ticks([one["step"] for one in every], PAPER))
    axes.set(xlabel=STEP_AXIS)


FIGURES: Figures = {"loss_and_layers": loss_and_layers, "excess_over_steps": excess_over_steps}
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
