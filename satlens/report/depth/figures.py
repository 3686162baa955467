"""Paper figures of a depth run, drawn from results (see `depth/schema.json`). Nothing is computed here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.depth.tables import shown_nulls
from satlens.report.paper import (
    COLORS,
    Figures,
    legend_below,
    numbers,
    paper,
    save,
    spread,
    ticker_module,
)
from satlens.report.words import KINDS, NULL_NAMES, known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = {
    "trained": {"marker": "o", "color": COLORS["model"]},
    "untrained": {"marker": "s", "color": COLORS["fresh"], "ls": "--", "mfc": "white"},
}
_DASHES = {"rotated": ":", "exchanged": "-."}


def blocks_used(results: Mapping[str, Any]) -> "Figure":
    """Blocks used until each rank is fixed: the model, its untrained twin, other ways into the same end."""
    ranks = results["ranks"]
    if not any(known(one["trained"]["used"]["value"]) for one in ranks):
        raise InputError("These results hold no blocks used.")
    x = [one["rank"] for one in ranks]
    with paper(results, "Blocks used until a rank is fixed", (4.2, 3.3)) as (figure, axes):
        for kind in shown_nulls(results):
            used = numbers(one["trained"]["nulls"][kind]["used"] for one in ranks)
            axes.plot(
                x, used, ls=_DASHES[kind], color=COLORS["null"], lw=1.2, label=NULL_NAMES[kind]
            )
        for kind in KINDS:
            found = [one[kind]["used"] for one in ranks if one[kind] is not None]
            if found:
                axes.errorbar(x, numbers(one["value"] for one in found), yerr=spread(found), capsize=2,
                              ms=4, label=kind, **_LOOKS[kind])  # fmt: skip
        axes.axhline(results["depth"]["layers"], color=COLORS["null"], lw=1)
        threshold = results["depth"]["threshold"]
        axes.axhline(threshold, color=COLORS["muted"], lw=1, ls="--")
        axes.text(x[-1], threshold, "log3 of the width", ha="right", va="bottom", fontsize=7,
                  color=COLORS["muted"])  # fmt: skip
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel="rank", ylabel="blocks used; line: all of them")
        axes.set_ylim(bottom=0)
        legend_below(axes, 4)
    return figure


def left_over(results: Mapping[str, Any]) -> "Figure":
    """The share of the depth that is left after each rank, above that of each path null."""
    nulls, ranks = shown_nulls(results), results["ranks"]
    if not nulls:
        raise InputError("These results hold no null; a share that is left is not drawn by itself.")
    with paper(results, "Depth left after a rank, above other paths", (4.2, 3.0)) as (figure, axes):
        for at, kind in enumerate(nulls):
            found = [one["trained"]["nulls"][kind]["excess"] for one in ranks]
            axes.errorbar([one["rank"] + 0.12 * (at - 0.5) for one in ranks],
                          numbers(one["value"] for one in found), yerr=spread(found), fmt="os"[at], ms=4,
                          capsize=2, color=COLORS["model"], mfc=COLORS["model"] if at == 0 else "white",
                          label=f"over {NULL_NAMES[kind]}")  # fmt: skip
        axes.axhline(0, color=COLORS["null"], lw=1, ls="--")
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel="rank", ylabel="share of the blocks")
        legend_below(axes, 2)
    return figure


FIGURES: Figures = {"blocks_used": blocks_used, "left_over": left_over}
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
