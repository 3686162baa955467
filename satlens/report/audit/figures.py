"""Paper figures of an audit, drawn from results (see `audit/schema.json`). Nothing is computed here.

    from satlens.report import figures
    figures.save_figures(results, "runs/tiny/figures")        # PNG, PDF and SVG of each

Every function takes results and gives a `matplotlib.figure.Figure`; it raises InputError where the
results lack what it draws. Censoring is drawn as such: the last layer is shaded, since what is fixed
there was seen only at the output.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError
from satlens.report.nouns import Nouns
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
    ticker_module,
)
from satlens.report.words import NULL_NAMES, known, part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 10
"""Ranks that a legend names, and rows that a histogram shows: more do not fit on a page."""


def survival(results: Mapping[str, Any], kind: str = "trained") -> "Figure":
    """Share of tokens fixed by each layer, one curve a rank, with its interval as a band."""
    curves = need(results, "saturation", kind, "survival")
    layers, lines = curves["layers"], curves["curves"]
    every = -(-len(lines) // MOST_NAMED)
    share = Nouns.of(results["corpus"]).said("share of tokens fixed")
    with paper(results, f"{share.capitalize()} by layer, {kind} model") as (figure, axes):
        for line, color in zip(lines, rank_colors(len(lines)), strict=True):
            low, high = numbers(line["ci_low"]), numbers(line["ci_high"])
            axes.fill_between(layers, low, high, step="post", color=color, alpha=0.15, linewidth=0)
            axes.step(
                layers,
                numbers(line["fixed"]),
                where="post",
                color=color,
                label=f"rank {line['rank']}" if (line["rank"] - 1) % every == 0 else None,
            )
        _shade_censored(axes, layers[-1])
        axes.set(xlabel=LAYER_AXIS, ylabel=share, ylim=(0, 1))
        axes.legend(loc="upper left", ncols=1 if len(lines) < 8 else 2)
    return figure


def rank_to_place(results: Mapping[str, Any]) -> "Figure":
    """The mean place of each rank's saturation layer among the token's k, trained and untrained."""
    k = len(need(results, "order", "trained", "paper", "rank_to_place"))
    with paper(results, "Place of each rank's saturation layer", (3.6, 3.3)) as (figure, axes):
        for kind, look in _LOOKS.items():
            places = part(results, "order", kind, "paper", "rank_to_place")
            if places:
                ranks = range(1, len(places) + 1)
                axes.plot(ranks, numbers(places), label=kind, **look)
                axes.plot(
                    ranks, ranks, color=COLORS["null"], lw=1, ls=":"
                ) if kind == "trained" else None
                k = len(places)
        axes.axhline((k + 1) / 2, color=COLORS["null"], lw=1, ls="--")
        axes.text(k, (k + 1) / 2, "no order", ha="right", va="bottom", color=COLORS["muted"])
        axes.text(k, k, "perfect order", ha="right", va="bottom", color=COLORS["muted"])
        axes.set(xlabel="rank in the final ranking", ylabel="mean place of its saturation layer")
        axes.set_xticks(range(1, k + 1))
        axes.legend(loc="upper left")
    return figure


def against_nulls(results: Mapping[str, Any], statistic: str = "concordance") -> "Figure":
    """The statistic of the real model with its interval, beside every null's draws.

    Args:
        results: what results.json holds.
        statistic: "concordance" or "strict_tau".
    """
    real = need(results, "order", "trained", statistic)
    names = [name for name in NULL_NAMES if part(results, "nulls", name, statistic)]
    if not names:
        raise InputError(
            "These results hold no null; run the audit with nulls to draw this figure."
        )
    title = f"{statistic.replace('_', ' ').capitalize()} against its nulls"
    with paper(results, title, (4.6, 0.9 + 0.34 * len(names))) as (figure, axes):
        for row, name in enumerate(reversed(names)):
            draws = results["nulls"][name][statistic]
            values = numbers(draws["values"])
            axes.plot([draws["low"], draws["high"]], [row, row], color=COLORS["null"], lw=5, alpha=0.35,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot(
                values, [row] * len(values), "|", color=COLORS["ink"], ms=7, mew=0.8, alpha=0.7
            )
        if real["ci"]:
            axes.axvspan(*real["ci"], color=COLORS["model"], alpha=0.18, lw=0)
        axes.axvline(
            real["value"], color=COLORS["model"], label="this model, interval over documents"
        )
        axes.set_yticks(range(len(names)), [NULL_NAMES[name] for name in reversed(names)])
        axes.set_xlabel(statistic.replace("_", " "))
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7.5)
        axes.set_title(title, pad=20)
    return figure


def trained_against_untrained(results: Mapping[str, Any]) -> "Figure":
    """Mean saturation layer per rank with intervals, trained and untrained, the path nulls beside."""
    need(results, "saturation", "trained", "ranks")
    with paper(results, "Mean saturation layer per rank", (3.8, 3.2)) as (figure, axes):
        for name, dash in (("rotated", ":"), ("exchanged", "--")):
            means = part(results, "nulls", name, "mean_layer")
            if means:
                axes.plot(range(1, len(means) + 1), numbers(means), ls=dash, color=COLORS["null"],
                          lw=1, label=NULL_NAMES[name])  # fmt: skip
        for kind, look in _LOOKS.items():
            ranks = part(results, "saturation", kind, "ranks") or []
            spread = _error_bars(ranks)
            if ranks:
                axes.errorbar([r["rank"] for r in ranks], numbers(r["mean_layer"] for r in ranks),
                              yerr=spread, capsize=2, label=kind, **look)  # fmt: skip
                axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        last = results["model"]["n_layers"] - 1
        axes.axhline(last, color=COLORS["null"], lw=1)
        axes.text(
            1,
            last,
            f"layer {last}: the output (censored)",
            va="bottom",
            color=COLORS["muted"],
            fontsize=7,
        )
        axes.set(xlabel="rank", ylabel=f"mean saturation {LAYER_AXIS}")
        axes.set_ylim(None, last + 0.07 * max(last, 1))
        legend_below(axes, 2)
    return figure


def histogram(results: Mapping[str, Any], kind: str = "trained") -> "Figure":
    """Number of tokens per saturation layer, one row a rank; the censored bar is hatched."""
    rows = need(results, "saturation", kind, "histogram")
    colors, of = rank_colors(len(rows)), ""
    if len(rows) > MOST_NAMED:
        rows, of = rows[:MOST_NAMED], f", the first {MOST_NAMED} of {len(rows)} ranks"
    size, n = (4.6, 0.8 + 0.75 * len(rows)), len(rows)
    with paper(results, f"Saturation layers, {kind} model{of}", size, rows=n) as (figure, axes):
        for i, (counts, color) in enumerate(zip(rows, colors, strict=False)):
            bars = axes[i].bar(range(len(counts)), counts, width=0.9, color=color)
            bars[-1].set(facecolor="none", edgecolor=color, hatch="////", linewidth=0.8)
            axes[i].set_ylabel(f"rank {i + 1}", rotation=0, ha="right", va="center")
            axes[i].yaxis.set_major_locator(ticker_module().MaxNLocator(2, integer=True))
        axes[-1].xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))
        axes[-1].set_xlabel(f"{LAYER_AXIS}; hatched: only at the output (censored)")
        figure.supylabel(f"{Nouns.of(results['corpus']).position}s", fontsize=8.5)
    return figure


FIGURES: Figures = {
    "survival": survival, "survival_untrained": lambda results: survival(results, "untrained"),
    "rank_to_place": rank_to_place, "against_nulls": against_nulls,
    "strict_tau_against_nulls": lambda results: against_nulls(results, "strict_tau"),
    "trained_against_untrained": trained_against_untrained, "histogram": histogram,
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


_LOOKS = {
    "trained": {"color": COLORS["model"], "marker": "o", "ms": 5},
    "untrained": {"color": COLORS["fresh"], "marker": "s", "ms": 5, "mfc": "white", "ls": "--"},
}


def _shade_censored(axes: "Axes", last: int) -> None:
    axes.axvspan(last - 0.5, last + 0.5, color=COLORS["null"], alpha=0.2, lw=0)
    axes.text(
        last,
        0.02,
        "output",
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=7,
        color=COLORS["muted"],
    )
    axes.set_xlim(-0.5, last + 0.5)
    axes.xaxis.set_major_locator(ticker_module().MaxNLocator(integer=True))


def _error_bars(ranks: Sequence[Mapping[str, Any]]) -> list[list[float]] | None:
    if not all(r["ci"] and known(r["mean_layer"]) for r in ranks):
        return None
    below = [max(r["mean_layer"] - r["ci"][0], 0) for r in ranks]
    return [below, [max(r["ci"][1] - r["mean_layer"], 0) for r in ranks]]
