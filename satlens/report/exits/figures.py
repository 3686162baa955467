"""Paper figures of exits, drawn from results (see `exits/schema.json`). Nothing is computed here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.exits.plots import DARKEST, DECAYING, LEFT, UNKNOWN
from satlens.report.exits.tables import (
    COIN,
    POLICIES,
    SHIFT,
    STUDIES,
    points_of,
    policies_of,
)
from satlens.report.palette import LINES
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
from satlens.report.words import count, known, part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES = {"solid": "-", "dash": "--", "dot": ":"}
AXES = {
    "compute_saved": "compute saved", "layers_saved": "layers saved",
    "agreement": "agreement with the full model", "accuracy": "next token right",
    "excess": "agreement above exits at random",
}  # fmt: skip


def agreement_over_compute(results: Mapping[str, Any]) -> "Figure":
    """Agreement at the compute that is saved, looks counted."""
    return _curves(results, "compute_saved", "agreement", "Agreement at equal compute")


def agreement_over_layers(results: Mapping[str, Any]) -> "Figure":
    """Agreement at the layers that are saved, looks for free."""
    return _curves(results, "layers_saved", "agreement", "Agreement at equal layers")


def accuracy_over_layers(results: Mapping[str, Any]) -> "Figure":
    """Accuracy at the layers that are saved, as published."""
    return _curves(results, "layers_saved", "accuracy", "Next token right at equal layers")


def excess_over_layers(results: Mapping[str, Any]) -> "Figure":
    """Agreement above the same exits dealt at random."""
    return _curves(results, "layers_saved", "excess", "Knowing which token", ("fixed layer",))


def gain_by_policy(results: Mapping[str, Any]) -> "Figure":
    """Mean agreement at equal compute above the coin, by policy and lens."""
    study = need(results, "studies", "logit")
    rows = policies_of(study)
    looks = {"logit": ("s", LINES["light"][1], -0.15), "shortcut": ("o", LINES["light"][0], 0.15)}
    with paper(results, "Gain over a coin, at equal compute", (4.8, 1.2 + 0.3 * len(rows))) as (
        figure, axes,
    ):  # fmt: skip
        for name, (marker, color, shift) in looks.items():
            found = part(results, "studies", name, "frontiers", "agreement", "policies") or {}
            some = [(row, found[one]["gain"]) for row, one in enumerate(rows) if one in found]
            if some:
                places, gains = zip(*some, strict=True)
                axes.errorbar(
                    numbers(gain["value"] for gain in gains), [place + shift for place in places],
                    xerr=spread(gains), fmt=marker, color=color, ms=4.5, capsize=2, label=STUDIES[name],
                    mfc=color if name == "shortcut" else "white",
                )  # fmt: skip
        axes.axvline(0, color=COLORS["null"], lw=1, ls=":")
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"mean agreement above the coin{_held_out(results)}")
        axes.legend(fontsize=7, loc="lower right")
    return figure


def shortcut_or_identity(results: Mapping[str, Any]) -> "Figure":
    """The decaying softmax response with each lens."""
    lines = {
        name: points_of(study, DECAYING)
        for name in ("logit", "shortcut") if (study := part(results, "studies", name))
    }  # fmt: skip
    if "shortcut" not in lines:
        raise InputError("These results hold no linear shortcut, which this figure draws.")
    lines["shift"] = results.get("shift") or []
    looks = {"logit": ("s", 1, "-"), "shortcut": ("o", 0, "-"), "shift": ("X", 6, "--")}
    with paper(results, "Linear shortcut or identity") as (figure, axes):
        for name, some in lines.items():
            marker, color, dashes = looks[name]
            _line(axes, some, "layers_saved", "agreement", LINES["light"][color], marker, dashes,
                  STUDIES.get(name, SHIFT))  # fmt: skip
        _percent(axes)
        axes.set(xlabel=AXES["layers_saved"] + _held_out(results), ylabel=AXES["agreement"])
        axes.legend(fontsize=7, loc="upper right")
    return figure


def exit_layers(results: Mapping[str, Any]) -> "Figure":
    """The share of tokens that leave after each block, near 95 % agreement."""
    study = need(results, "studies", "logit")
    rows = [name for name in policies_of(study) if known(part(study, "near", name))]
    if not rows:
        raise InputError("These results hold no exit layers, which this figure draws.")
    shares = [study["points"][study["near"][name]]["exits"] for name in rows]
    title = "Exits near 95 % agreement"
    with paper(results, title, (4.8, 1.2 + 0.28 * len(rows))) as (figure, axes):
        image = axes.imshow(
            [numbers(row) for row in shares], vmin=0, vmax=DARKEST, cmap="Blues", aspect="auto"
        )
        axes.set_yticks(range(len(rows)), rows)
        axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes.tick_params(length=0)
        axes.set_xlabel(LAYER_AXIS + _held_out(results))
        figure.colorbar(image, ax=axes, label="share of tokens", shrink=0.8, extend="max")
    return figure


FIGURES: Figures = {
    "agreement_over_compute": agreement_over_compute, "agreement_over_layers": agreement_over_layers,
    "accuracy_over_layers": accuracy_over_layers, "excess_over_layers": excess_over_layers,
    "gain_by_policy": gain_by_policy, "shortcut_or_identity": shortcut_or_identity,
    "exit_layers": exit_layers,
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


def _curves(
    results: Mapping[str, Any], x: str, y: str, title: str, but: Sequence[str] = ()
) -> "Figure":
    """Every policy with the logit lens through its thresholds; the coin and the oracle."""
    study = need(results, "studies", "logit")
    points = {name: points_of(study, name) for name in policies_of(study) if name not in but}
    shown = {
        name: some for name, some in points.items() if any(known(one[y]["value"]) for one in some)
    }
    if not shown:
        raise InputError(f"These results hold no {y}, which this figure draws.")
    with paper(results, title, (4.8, 4.0)) as (figure, axes):
        for name in reversed(shown):
            look = POLICIES.get(name, UNKNOWN)
            color = LINES["light"][look.color - 1]
            _line(axes, shown[name], x, y, color, look.marker, DASHES[look.dash], name)
        if y == "excess":
            axes.axhline(0, color=COLORS["null"], lw=1, ls=":")
        else:
            _coin(axes, study, x, y)
            oracle = [part(study, "oracle", axis, "value") for axis in (x, y)]
            if all(map(known, oracle)):
                axes.plot(*oracle, "*", color=COLORS["ink"], ms=9, mfc="white", label="oracle")
        if x == "compute_saved":
            axes.set_xlim(LEFT, 1)
        _percent(axes)
        axes.set(xlabel=AXES[x] + _held_out(results), ylabel=AXES[y])
        legend_below(axes, 2)
    return figure


def _line(axes: Any, some: Sequence[Mapping[str, Any]], x: str, y: str, color: str, marker: str,
          dashes: str, name: str) -> None:  # fmt: skip
    axes.errorbar(
        numbers(one[x]["value"] for one in some), numbers(one[y]["value"] for one in some),
        yerr=spread([one[y] for one in some]), color=color, marker=marker, ls=dashes, lw=1.1, ms=3.5,
        elinewidth=0.7, mfc=color if dashes == "-" else "white", label=name,
    )  # fmt: skip


def _coin(axes: Any, study: Mapping[str, Any], x: str, y: str) -> None:
    full = {"agreement": 1.0, "accuracy": study["full"]["accuracy"]}[y]
    ends = [part(study, "coin", x), part(study, "coin", y)]
    if all(map(known, (full, *ends))):
        axes.plot([0, ends[0]], [full, ends[1]], ls=":", color=COLORS["null"], lw=1.4, label=COIN)


def _held_out(results: Mapping[str, Any]) -> str:
    """What is read is not the whole corpus."""
    return f" ({count(results['split']['held_out']['documents'], 'held-out document')})"


def _percent(axes: Any) -> None:
    axes.xaxis.set_major_formatter(ticker_module().PercentFormatter(1, decimals=0))
