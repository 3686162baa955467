"""Paper figures of a shortcut, drawn from results (see `shortcut/schema.json`). Nothing is computed here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
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
from satlens.report.shortcut.tables import (
    KIND_NAMES,
    LENS_NAMES,
    NULLS,
    R2_FLOOR,
    shown_kinds,
    shown_lenses,
)
from satlens.report.words import count, known, part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vPX"
"""A marker for each line; the first is the one in question, filled."""


def precision_by_layer(results: Mapping[str, Any]) -> "Figure":
    """How often each lens tells the final top-1."""
    return _by_layer(results, "precision@1", "The final top-1 told", "share of tokens")


def kl_by_layer(results: Mapping[str, Any]) -> "Figure":
    """The divergence of each lens from the final output; lenses that know nothing are left out."""
    return _by_layer(results, "kl", "Divergence from the final output", "nats", nulls=False)


def r2_by_layer(results: Mapping[str, Any]) -> "Figure":
    """How much of the final state each lens explains."""
    return _by_layer(results, "r2", "Final state explained", "r2, mean over coordinates")


def surprisal_by_layer(results: Mapping[str, Any]) -> "Figure":
    """How unlikely the model finds each lens's top-1; lenses that know nothing are left out."""
    title = "Surprisal of the top-1 that is told"
    return _by_layer(results, "surprisal", title, "nats", nulls=False)


def gain_over_identity(results: Mapping[str, Any]) -> "Figure":
    """Precision@1 above the logit lens, on the same tokens."""
    lines = {
        name: found
        for name in LENS_NAMES
        if (found := part(results, "gains", name, "precision@1", "by_layer"))
    }
    title = _held_out(results, "Precision@1 above the identity")
    with paper(results, title, (4.8, 3.6)) as (figure, axes):
        _lines(axes, need(results, "layers"), lines, LENS_NAMES)
        axes.axhline(0, color=COLORS["null"], lw=1, ls=":")
        axes.set(xlabel=LAYER_AXIS, ylabel="share of tokens")
        legend_below(axes, 3)
    return figure


def submodule_tolerance(results: Mapping[str, Any]) -> "Figure":
    """The final top-1 kept with one kind of sub-module replaced by linear maps, or by its mean output."""
    kinds = shown_kinds(results)
    if not kinds:
        raise InputError("These results hold no sub-modules, which this figure draws.")
    layers = need(results, "submodules", "layers")
    with paper(results, "Which sub-module tolerates a linear map?", (4.8, 3.8)) as (figure, axes):
        for by, dashes in (("map", "-"), ("mean", ":")):
            lines = {kind: part(one, by, "precision@1", "by_layer") for kind, one in kinds.items()}
            names = {
                kind: name if by == "map" else f"{name}, mean output"
                for kind, name in KIND_NAMES.items()
            }
            _lines(axes, layers, lines, names, dashes)
        axes.set(xlabel="last layer left alone", ylabel="final top-1 kept, share of tokens")
        legend_below(axes, 2)
    return figure


def saturation_by_lens(results: Mapping[str, Any]) -> "Figure":
    """The mean saturation layer of each rank through each lens."""
    found = need(results, "saturation", "lenses")
    lines = {name: [one["layer"] for one in found[name]] for name in LENS_NAMES if found.get(name)}
    if not lines:
        raise InputError("These results hold no saturation layers, which this figure draws.")
    ranks = list(range(1, max(map(len, lines.values())) + 1))
    with paper(results, "Saturation through each lens", (4.6, 3.4)) as (figure, axes):
        _lines(axes, ranks, lines, LENS_NAMES)
        axes.set(xlabel="rank", ylabel="mean saturation layer")
        legend_below(axes, 3)
    return figure


FIGURES: Figures = {
    "precision_by_layer": precision_by_layer, "gain_over_identity": gain_over_identity,
    "kl_by_layer": kl_by_layer, "surprisal_by_layer": surprisal_by_layer, "r2_by_layer": r2_by_layer,
    "submodule_tolerance": submodule_tolerance, "saturation_by_lens": saturation_by_lens,
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


def _by_layer(
    results: Mapping[str, Any], measure: str, title: str, label: str, nulls: bool = True
) -> "Figure":
    lines = {
        name: part(one, "test", measure, "by_layer") or []
        for name, one in shown_lenses(results).items()
        if nulls or name not in NULLS
    }
    with paper(results, _held_out(results, title), (4.8, 3.8)) as (figure, axes):
        _lines(axes, need(results, "layers"), lines, LENS_NAMES)
        if measure == "r2" and axes.get_ylim()[0] < R2_FLOOR:
            axes.set_ylim(R2_FLOOR, 1.03)
            label += f"; below {R2_FLOOR} not shown"
        axes.set(xlabel=LAYER_AXIS, ylabel=label)
        legend_below(axes, 3)
    return figure


def _lines(
    axes: Any,
    x: Sequence[int],
    lines: Mapping[str, Sequence[Any]],
    names: Mapping[str, str],
    dashes: str = "-",
) -> None:
    """One line a name with intervals, the one in question on top."""
    found = {name: some for name, some in lines.items() if some and any(map(_known, some))}
    if not found:
        raise InputError("These results hold none of the numbers that this figure draws.")
    places = [name for name in names if name not in NULLS]
    for name in names:
        if name not in found:
            continue
        null = name in NULLS
        place = 6 if null else places.index(name) % 7
        first, color = place == 0 and dashes == "-", LINES["light"][place]
        axes.errorbar(
            x, numbers(one["value"] for one in found[name]), yerr=spread(found[name]), label=names[name],
            color=color, ls={"mean": ":", "shuffled": "-."}.get(name, dashes),
            marker="" if null else MARKERS[place], ms=4.5 if first else 3.5, mfc=color if first else "white",
            lw=2 if first else 1, capsize=1.5, elinewidth=0.7, zorder=3 if first else 2,
        )  # fmt: skip
    axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))


def _held_out(results: Mapping[str, Any], title: str) -> str:
    """The title with how much it rests on: the caption names all that was read."""
    return f"{title} ({count(results['split']['test']['tokens'], 'held-out token')})"


def _known(one: Any) -> bool:
    return known(part(one, "value"))
