"""Paper figures of an audit, drawn from results (see `schema.json`). Nothing is computed here.

    from satlens.report import figures
    figures.save_figures(results, "runs/tiny/figures")        # PNG, PDF and SVG of each

Every function takes results and gives a `matplotlib.figure.Figure`; it raises InputError where the
results lack what it draws. Censoring is drawn as such: the last layer is shaded, since what is fixed
there was seen only at the output.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError, MissingExtraError
from satlens.files import whole_file
from satlens.report.palette import INK, rank_colors
from satlens.report.words import NULL_NAMES, count, known, part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYER_AXIS = "layer (state after block l)"
_C = INK["light"]
_STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8.5, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _C["muted"],
    "axes.labelcolor": _C["ink"], "text.color": _C["ink"], "xtick.color": _C["muted"],
    "ytick.color": _C["muted"], "legend.frameon": False, "lines.linewidth": 1.6, "svg.fonttype": "none",
    "pdf.fonttype": 42, "savefig.dpi": 200, "svg.hashsalt": "satlens",
}  # fmt: skip

MOST_NAMED = 10
"""Ranks that a legend names, and rows that a histogram shows: more do not fit on a page."""


def survival(results: Mapping[str, Any], kind: str = "trained") -> "Figure":
    """Share of tokens fixed by each layer, one curve a rank, with its interval as a band."""
    curves = _need(results, "saturation", kind, "survival")
    layers, lines = curves["layers"], curves["curves"]
    every = -(-len(lines) // MOST_NAMED)
    with _paper(results, f"Share of tokens fixed by layer, {kind} model") as (figure, axes):
        for line, color in zip(lines, rank_colors(len(lines)), strict=True):
            low, high = _numbers(line["ci_low"]), _numbers(line["ci_high"])
            axes.fill_between(layers, low, high, step="post", color=color, alpha=0.15, linewidth=0)
            axes.step(
                layers,
                _numbers(line["fixed"]),
                where="post",
                color=color,
                label=f"rank {line['rank']}" if (line["rank"] - 1) % every == 0 else None,
            )
        _shade_censored(axes, layers[-1])
        axes.set(xlabel=LAYER_AXIS, ylabel="share of tokens fixed", ylim=(0, 1))
        axes.legend(loc="upper left", ncols=1 if len(lines) < 8 else 2)
    return figure


def rank_to_place(results: Mapping[str, Any]) -> "Figure":
    """The mean place of each rank's saturation layer among the token's k, trained and untrained."""
    _need(results, "order", "trained", "paper", "rank_to_place")
    with _paper(results, "Place of each rank's saturation layer", (3.6, 3.3)) as (figure, axes):
        for kind, look in _LOOKS.items():
            places = part(results, "order", kind, "paper", "rank_to_place")
            if places:
                ranks = range(1, len(places) + 1)
                axes.plot(ranks, _numbers(places), label=kind, **look)
                axes.plot(
                    ranks, ranks, color=_C["null"], lw=1, ls=":"
                ) if kind == "trained" else None
                k = len(places)
        axes.axhline((k + 1) / 2, color=_C["null"], lw=1, ls="--")
        axes.text(k, (k + 1) / 2, "no order", ha="right", va="bottom", color=_C["muted"])
        axes.text(k, k, "perfect order", ha="right", va="bottom", color=_C["muted"])
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
    real = _need(results, "order", "trained", statistic)
    names = [name for name in NULL_NAMES if part(results, "nulls", name, statistic)]
    if not names:
        raise InputError(
            "These results hold no null; run the audit with nulls to draw this figure."
        )
    title = f"{statistic.replace('_', ' ').capitalize()} against its nulls"
    with _paper(results, title, (4.6, 0.9 + 0.34 * len(names))) as (figure, axes):
        for row, name in enumerate(reversed(names)):
            draws = results["nulls"][name][statistic]
            values = _numbers(draws["values"])
            axes.plot([draws["low"], draws["high"]], [row, row], color=_C["null"], lw=5, alpha=0.35,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot(values, [row] * len(values), "|", color=_C["ink"], ms=7, mew=0.8, alpha=0.7)
        if real["ci"]:
            axes.axvspan(*real["ci"], color=_C["model"], alpha=0.18, lw=0)
        axes.axvline(real["value"], color=_C["model"], label="this model, interval over documents")
        axes.set_yticks(range(len(names)), [NULL_NAMES[name] for name in reversed(names)])
        axes.set_xlabel(statistic.replace("_", " "))
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7.5)
        axes.set_title(title, pad=20)
    return figure


def trained_against_untrained(results: Mapping[str, Any]) -> "Figure":
    """Mean saturation layer per rank with intervals, trained and untrained, the path nulls beside."""
    _need(results, "saturation", "trained", "ranks")
    with _paper(results, "Mean saturation layer per rank", (3.8, 3.2)) as (figure, axes):
        for name, dash in (("rotated", ":"), ("exchanged", "--")):
            means = part(results, "nulls", name, "mean_layer")
            if means:
                axes.plot(range(1, len(means) + 1), _numbers(means), ls=dash, color=_C["null"],
                          lw=1, label=NULL_NAMES[name])  # fmt: skip
        for kind, look in _LOOKS.items():
            ranks = part(results, "saturation", kind, "ranks") or []
            spread = _error_bars(ranks)
            if ranks:
                axes.errorbar([r["rank"] for r in ranks], _numbers(r["mean_layer"] for r in ranks),
                              yerr=spread, capsize=2, label=kind, **look)  # fmt: skip
                axes.xaxis.set_major_locator(_ticker().MaxNLocator(integer=True))
        last = results["model"]["n_layers"] - 1
        axes.axhline(last, color=_C["null"], lw=1)
        axes.text(
            1,
            last,
            f"layer {last}: the output (censored)",
            va="bottom",
            color=_C["muted"],
            fontsize=7,
        )
        axes.set(xlabel="rank", ylabel=f"mean saturation {LAYER_AXIS}")
        axes.set_ylim(None, last + 0.07 * max(last, 1))
        figure.legend(loc="outside lower center", ncols=2, fontsize=7.5)
    return figure


def histogram(results: Mapping[str, Any], kind: str = "trained") -> "Figure":
    """Number of tokens per saturation layer, one row a rank; the censored bar is hatched."""
    rows = _need(results, "saturation", kind, "histogram")
    colors, of = rank_colors(len(rows)), ""
    if len(rows) > MOST_NAMED:
        rows, of = rows[:MOST_NAMED], f", the first {MOST_NAMED} of {len(rows)} ranks"
    size, n = (4.6, 0.8 + 0.75 * len(rows)), len(rows)
    with _paper(results, f"Saturation layers, {kind} model{of}", size, rows=n) as (figure, axes):
        for i, (counts, color) in enumerate(zip(rows, colors, strict=False)):
            bars = axes[i].bar(range(len(counts)), counts, width=0.9, color=color)
            bars[-1].set(facecolor="none", edgecolor=color, hatch="////", linewidth=0.8)
            axes[i].set_ylabel(f"rank {i + 1}", rotation=0, ha="right", va="center")
            axes[i].yaxis.set_major_locator(_ticker().MaxNLocator(2, integer=True))
        axes[-1].xaxis.set_major_locator(_ticker().MaxNLocator(integer=True))
        axes[-1].set_xlabel(f"{LAYER_AXIS}; hatched: only at the output (censored)")
        figure.supylabel("tokens", fontsize=8.5)
    return figure


FIGURES: dict[str, Callable[[Mapping[str, Any]], "Figure"]] = {
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
    with _matplotlib().rc_context(_STYLE):
        return [path for name in FIGURES for path in _save(results, name, Path(folder), formats)]


def _save(
    results: Mapping[str, Any], name: str, folder: Path, formats: Sequence[str]
) -> list[Path]:
    """The files of one figure; none where the results lack what it draws."""
    try:
        figure = FIGURES[name](results)
    except InputError:
        return []
    written = []
    for ending in formats:
        # Without a date the same results give the same bytes.
        dated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(ending)
        path = folder / f"{name}.{ending}"
        with whole_file(path) as beside:
            figure.savefig(beside, format=ending, metadata=dated, bbox_inches="tight")
        written.append(path)
    return written


_LOOKS = {
    "trained": {"color": _C["model"], "marker": "o", "ms": 5},
    "untrained": {"color": _C["fresh"], "marker": "s", "ms": 5, "mfc": "white", "ls": "--"},
}


class _paper:
    """A figure in the paper style: ``with _paper(results, title) as (figure, axes)``."""

    def __init__(self, results, title, size=(4.6, 3.2), rows=0):
        self.results, self.title, self.size, self.rows = results, title, size, rows

    def __enter__(self) -> "tuple[Figure, Any]":
        matplotlib = _matplotlib()
        self.style = matplotlib.rc_context(_STYLE)
        self.style.__enter__()
        # Figure without pyplot: no window system is touched and nothing stays in a global list.
        self.figure = matplotlib.figure.Figure(figsize=self.size, layout="constrained")
        axes = self.figure.subplots(self.rows or 1, 1, sharex=True, squeeze=False)[:, 0]
        axes[0].set_title(self.title)
        return self.figure, axes if self.rows else axes[0]

    def __exit__(self, *error) -> None:
        if error[0] is None:
            self.figure.text(
                0, -0.02, _caption(self.results), fontsize=7, color=_C["muted"], va="top"
            )
        self.style.__exit__(*error)


def _caption(results: Mapping[str, Any]) -> str:
    model, corpus = results["model"], results["corpus"]
    return (f"{model['name']} on {corpus['name']}: {count(corpus['tokens'], 'token')}, "
            f"{count(corpus['documents'], 'document')}; intervals over documents")  # fmt: skip


def _shade_censored(axes: "Axes", last: int) -> None:
    axes.axvspan(last - 0.5, last + 0.5, color=_C["null"], alpha=0.2, lw=0)
    axes.text(
        last, 0.02, "output", rotation=90, ha="center", va="bottom", fontsize=7, color=_C["muted"]
    )
    axes.set_xlim(-0.5, last + 0.5)
    axes.xaxis.set_major_locator(_ticker().MaxNLocator(integer=True))


def _error_bars(ranks: Sequence[Mapping[str, Any]]) -> list[list[float]] | None:
    if not all(r["ci"] and known(r["mean_layer"]) for r in ranks):
        return None
    below = [max(r["mean_layer"] - r["ci"][0], 0) for r in ranks]
    return [below, [max(r["ci"][1] - r["mean_layer"], 0) for r in ranks]]


def _numbers(values) -> list[float]:
    """None becomes NaN, which matplotlib leaves out."""
    return [value if known(value) else float("nan") for value in values]


def _need(results: Mapping[str, Any], *keys: str) -> Any:
    found = part(results, *keys)
    if not found:
        raise InputError(
            f"These results hold nothing under {'.'.join(keys)}, which this figure draws."
        )
    return found


def _matplotlib():
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise MissingExtraError(
            "The paper figures need matplotlib, which is not installed: pip install 'satlens[figures]'"
        ) from error
    return matplotlib


def _ticker():
    from matplotlib import ticker

    return ticker
