"""Paper figures of a route run, drawn from results (see `route/schema.json`). Nothing is computed here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
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
from satlens.report.route.tables import WAYS
from satlens.report.words import known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = {
    "soft": {"marker": "^", "color": COLORS["muted"], "mfc": "white"},
    "hard": {"marker": "o", "color": COLORS["model"]},
    "random": {"marker": "s", "color": COLORS["null"], "mfc": "white"},
    "early_exit": {"marker": "D", "color": COLORS["fresh"], "mfc": "white"},
}


def loss_and_saving(results: Mapping[str, Any]) -> "Figure":
    """Loss against what is saved, every lambda and seed: the router, chance, early exit."""
    runs = [one for one in results["runs"] if known(one["hard"]["loss"]["value"])]
    if not runs:
        raise InputError("These results hold no loss of hard gates.")
    with paper(results, "Loss against layer operations saved", (4.4, 3.4)) as (figure, axes):
        for way, look in _LOOKS.items():
            found = [one[way]["loss"] for one in runs]
            at = [one["hard"]["saved"]["value"] for one in runs]
            axes.errorbar(at, numbers(one["value"] for one in found), yerr=spread(found), ls="", ms=5,
                          capsize=2, label=WAYS.get(way, "early exit"), **look)  # fmt: skip
        axes.axhline(runs[0]["open"]["loss"]["value"], color=COLORS["null"], lw=1, ls="--")
        axes.set(xlabel="saved with hard gates; dashed: no gates", ylabel="loss, nats a token")
        legend_below(axes, 2)
    return figure


def skipping_and_saturation(results: Mapping[str, Any]) -> "Figure":
    """Block by block, the share that skips it among tokens fixed before it and among the others."""
    rows = results["saturation"]["by_block"]
    if not any(known(one["skip"]) for one in rows):
        raise InputError("These results hold no block that could be skipped.")
    x = [one["block"] for one in rows]
    with paper(results, "Who skips a block", (4.6, 3.2)) as (figure, axes):
        axes.plot(x, numbers(one["fixed"] for one in rows), ls=":", color=COLORS["null"],
                  label="share fixed before it")  # fmt: skip
        axes.plot(x, numbers(one["skip_other"] for one in rows), "s--", ms=4, mfc="white",
                  color=COLORS["fresh"], label="of those not yet fixed")  # fmt: skip
        axes.plot(x, numbers(one["skip_fixed"] for one in rows), "o-", ms=4, color=COLORS["model"],
                  label="of those fixed before it")  # fmt: skip
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel="block", ylabel="share that skips it", ylim=(-0.02, 1.02))
        legend_below(axes, 3)
    return figure


FIGURES: Figures = {
    "loss_and_saving": loss_and_saving, "skipping_and_saturation": skipping_and_saturation,
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
