"""Paper figures: one style, a caption that names the sample, files in several formats.

``with paper(results, title) as (figure, axes)`` gives a figure in the style; ``save(FIGURES, results,
folder)`` writes every figure that the results hold the numbers for.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satlens.errors import InputError, MissingExtraError
from satlens.files import whole_file
from satlens.report.nouns import Nouns
from satlens.report.palette import INK
from satlens.report.words import known, part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYER_AXIS = "layer (state after block l)"
COLORS = INK["light"]
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8.5, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["ink"], "text.color": COLORS["ink"], "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"], "legend.frameon": False, "lines.linewidth": 1.6, "svg.fonttype": "none",
    "pdf.fonttype": 42, "savefig.dpi": 200, "svg.hashsalt": "satlens",
}  # fmt: skip

Figures = Mapping[str, Callable[[Mapping[str, Any]], "Figure"]]
"""Functions from results to a figure, by file name; InputError where the results lack what it draws."""


def save(
    figures: Figures,
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
        return [
            path
            for name, draw in figures.items()
            for path in _save(draw, results, Path(folder) / name, formats)
        ]


def _save(
    draw: "Callable[[Mapping[str, Any]], Figure]",
    results: Mapping[str, Any],
    stem: Path,
    formats: Sequence[str],
) -> list[Path]:
    """The files of one figure; none where the results lack what it draws."""
    try:
        figure = draw(results)
    except InputError:
        return []
    written = []
    for ending in formats:
        # Without a date the same results give the same bytes.
        dated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(ending)
        path = stem.with_name(f"{stem.name}.{ending}")
        with whole_file(path) as beside:
            figure.savefig(beside, format=ending, metadata=dated, bbox_inches="tight")
        written.append(path)
    return written


class paper:
    """A figure in the paper style: ``with paper(results, title) as (figure, axes)``."""

    def __init__(
        self,
        results: Mapping[str, Any],
        title: str,
        size: tuple[float, float] = (4.6, 3.2),
        rows: int = 0,
    ) -> None:
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

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.figure.text(
                0, -0.02, _caption(self.results), fontsize=7, color=COLORS["muted"], va="top"
            )
        self.style.__exit__(*error)


def _caption(results: Mapping[str, Any]) -> str:
    model, corpus = results["model"], results["corpus"]
    nouns = Nouns.of(corpus)
    sizes = nouns.counted(corpus["tokens"], corpus["documents"])
    return (
        f"{model['name']} on {corpus['name']}: {', '.join(sizes)}; intervals over {nouns.document}s"
    )


def numbers(values: Iterable[Any]) -> list[float]:
    """None becomes NaN, which matplotlib leaves out."""
    return [value if known(value) else float("nan") for value in values]


def legend_below(axes: Any, ncols: int) -> None:
    """The legend under the axis title, inside the layout: a figure's own would lie on the caption."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=ncols, fontsize=7)


def spread(estimates: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Lengths of error bars below and above; NaN, which is not drawn, where there is no interval."""
    ends = [_ends(one) for one in estimates]
    return [[below for below, _ in ends], [above for _, above in ends]]


def _ends(one: Mapping[str, Any]) -> tuple[float, float]:
    ci = one["ci"]
    if not ci or not all(map(known, (one["value"], *ci))):
        return float("nan"), float("nan")
    return max(one["value"] - ci[0], 0.0), max(ci[1] - one["value"], 0.0)


def need(results: Mapping[str, Any], *keys: str) -> Any:
    """The value under these keys; InputError where it is not there or empty."""
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


def ticker_module():
    """`matplotlib.ticker`, imported when a figure is drawn."""
    from matplotlib import ticker

    return ticker
