"""Paper figures of a probe, drawn from results (see `probe/schema.json`). Nothing is computed here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.palette import rank_colors
from satlens.report.paper import (
    COLORS,
    LAYER_AXIS,
    Figures,
    legend_below,
    need,
    numbers,
    paper,
    save,
    spread,
    ticker_module,
)
from satlens.report.probe.tables import PROBES, shown_controls
from satlens.report.words import CONTROL_NAMES, known, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_and_controls(results: Mapping[str, Any]) -> "Figure":
    """Balanced accuracy of the probe with its interval, above every control; chance as a line."""
    chance, controls = need(results, "labels", "chance"), _known_controls(results)
    rows = [*PROBES, *controls]
    with paper(results, "Stage read from the state, and what else reads it",
               (4.8, 1.0 + 0.27 * len(rows))) as (figure, axes):  # fmt: skip
        for row, key in enumerate(reversed(rows)):
            entry, probe = (results[key], True) if key in PROBES else (controls[key], False)
            color = COLORS["model"] if probe else COLORS["ink"]
            axes.plot(numbers(entry.get("values", ())), [row] * len(entry.get("values", ())), "|",
                      color=COLORS["null"], ms=8, mew=0.8)  # fmt: skip
            axes.errorbar(numbers([entry["accuracy"]["value"]]), [row], xerr=spread([entry["accuracy"]]),
                          fmt="o" if probe or entry["in_verdict"] else "s", color=color, ms=5, capsize=2,
                          mfc=color if probe else "white")  # fmt: skip
        axes.axvline(chance, color=COLORS["null"], lw=1, ls="--")
        axes.text(chance, len(rows) - 0.4, f"chance {number(chance)}", ha="center", va="bottom", fontsize=7,
                  color=COLORS["muted"])  # fmt: skip
        axes.set_yticks(range(len(rows)), [(PROBES | CONTROL_NAMES)[key] for key in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("balanced accuracy; square: not in the verdict")
        axes.set_title(axes.get_title(loc="left"), pad=14)
    return figure


def accuracy_by_layer(results: Mapping[str, Any]) -> "Figure":
    """Balanced accuracy at every layer in use, for one probe over all layers and for one a layer."""
    chance = need(results, "labels", "chance")
    need(results, "probe", "layers")
    looks = {"probe": {"marker": "o", "color": COLORS["model"]},
             "per_layer": {"marker": "s", "color": COLORS["fresh"], "ls": "--", "mfc": "white"}}  # fmt: skip
    with paper(results, "Accuracy by layer") as (figure, axes):
        for key, look in looks.items():
            layers = results[key]["layers"]
            if layers:
                accuracy = [entry["accuracy"] for entry in layers]
                axes.errorbar([entry["layer"] for entry in layers], numbers(a["value"] for a in accuracy),
                              yerr=spread(accuracy), capsize=2, ms=4, label=PROBES[key], **look)  # fmt: skip
        axes.axhline(chance, color=COLORS["null"], lw=1, ls="--", label=f"chance {number(chance)}")
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(xlabel=LAYER_AXIS, ylabel="balanced accuracy", ylim=(0, 1))
        axes.legend(fontsize=7.5)
    return figure


def confusion(results: Mapping[str, Any]) -> "Figure":
    """Which stage is taken for which, as shares of the true stage."""
    shares = need(results, "probe", "confusion")
    m = len(shares)
    size = max(2.6, 0.5 * m + 1.2)
    with paper(results, "Stages taken for one another", (size, size)) as (figure, axes):
        grid = [numbers(row) for row in shares]
        axes.imshow(grid, vmin=0, vmax=1, cmap="Blues")
        for i, row in enumerate(grid):
            for j, share in enumerate(row):
                axes.text(j, i, number(share), ha="center", va="center", fontsize=7.5,
                          color="white" if share > 0.6 else COLORS["ink"])  # fmt: skip
        axes.set_xticks(range(m), range(1, m + 1))
        axes.set_yticks(range(m), range(1, m + 1))
        axes.tick_params(length=0)
        axes.set(xlabel="predicted stage", ylabel="true stage")
    return figure


def class_counts(results: Mapping[str, Any]) -> "Figure":
    """States of each stage at each layer before balancing; layers that are not used are shaded."""
    counts, used = need(results, "labels", "counts"), set(results["labels"]["layers"])
    stages = results["labels"]["stages"]
    with paper(results, "States of each stage, before balancing") as (figure, axes):
        below = [0] * len(counts)
        for i, color in enumerate(rank_colors(stages)):
            height = [row[i] for row in counts]
            axes.bar(
                range(len(counts)),
                height,
                bottom=below,
                color=color,
                width=0.85,
                label=f"stage {i + 1}",
            )
            below = [a + b for a, b in zip(below, height, strict=True)]
        for layer in range(len(counts)):
            if layer not in used:
                axes.axvspan(
                    layer - 0.5, layer + 0.5, color=COLORS["null"], alpha=0.2, lw=0, zorder=0
                )
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.set(
            xlabel=f"{LAYER_AXIS}; shaded: not used",
            ylabel="states",
            xlim=(-0.5, len(counts) - 0.5),
        )
        legend_below(axes, min(stages, 5))
    return figure


FIGURES: Figures = {
    "accuracy_and_controls": accuracy_and_controls, "accuracy_by_layer": accuracy_by_layer,
    "confusion": confusion, "class_counts": class_counts,
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


def _known_controls(results: Mapping[str, Any]) -> dict[str, Any]:
    controls = shown_controls(results)
    found = {name: one for name, one in controls.items() if known(one["accuracy"]["value"])}
    if not found:
        raise InputError("These results hold no control; an accuracy by itself is not drawn.")
    return found
