"""What the charts of the page are made of: plain plotly figures, dicts of data and layout.

Colours are names of CSS variables (``--rank-1``, with a share of opacity ``--rank-1/0.15``), which
the page's script puts in, so that light, dark and print have one palette each, in one place. A chart
is None where the results lack what it draws; the page then says so in a sentence.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from satlens.report.words import known

LAYER_AXIS = "layer (state after block l)"
Chart = dict[str, Any]
Charts = Mapping[str, Callable[[Mapping[str, Any]], Chart | None]]
"""Functions from results to a chart, by the chart's place in the template."""


class Caption(NamedTuple):
    """The words beside one chart: its title, what to read off it, and how it can mislead."""

    title: str
    read: str
    mind: str


def point(entry: Mapping[str, Any], row: str, color: str, form: str = ".3f") -> Chart:
    """One value with its interval in a row of a dot chart."""
    point = {
        "type": "scatter", "mode": "markers", "x": [entry["value"]], "y": [row],
        "marker": {"color": color, "size": 11}, "line": {"color": color},
        "hovertemplate": f"{row}<br>%{{x:{form}}}" + ends(entry["ci"], form) + "<extra></extra>",
    }  # fmt: skip
    return point | error([(entry["value"], entry["ci"])], "x", point)


def error(estimates: list[Any], axis: str, series: Chart) -> Chart:
    """Error bars of a series; none at a point without an interval."""
    spread = [_spread(value, ci) for value, ci in estimates]
    if not any(spread):
        return {}
    down, up = zip(*(ends or (0, 0) for ends in spread), strict=True)
    return {f"error_{axis}": {"type": "data", "symmetric": False, "array": list(up), "arrayminus": list(down),
                              "color": series["line"]["color"], "thickness": 1.5, "width": 4}}  # fmt: skip


def _spread(value: Any, ci: Any) -> tuple[float, float] | None:
    if not ci or not all(map(known, (value, *ci))):
        return None
    return max(value - ci[0], 0), max(ci[1] - value, 0)


def ends(ci: Any, form: str) -> str:
    """The interval as a line of a hover text."""
    return f"<br>interval {ci[0]:{form}} to {ci[1]:{form}}" if ci and all(map(known, ci)) else ""


def layer_axis(last: int) -> Chart:
    """Layers along x, the output shaded: what is fixed there is censored."""
    return {
        "xaxis": {"title": LAYER_AXIS, "range": [-0.5, last + 0.5], "tickformat": "d",
                  "dtick": max(1, -(-(last + 1) // 9))},
        "shapes": [band(last - 0.5, last + 0.5, "--null/0.22")],
        "annotations": [note("output: censored", x=last + 0.5, xanchor="right", y=0.02, yref="paper",
                              textangle=-90, yanchor="bottom")],
    }  # fmt: skip


def rows_layout(rows: list[str], title: str, shapes: list[Any]) -> Chart:
    """A dot chart: words down the side in this order, numbers along x."""
    return {
        "showlegend": False, "shapes": shapes, "xaxis": {"title": title, "zeroline": False, "nticks": 6},
        "yaxis": {"categoryorder": "array", "categoryarray": rows[::-1], "automargin": True,
                  "range": [-0.6, len(rows) - 0.4], "showgrid": False},
    }  # fmt: skip


def band(x0: float, x1: float, color: str) -> Chart:
    """A range of x, shaded over the whole height."""
    return {"type": "rect", "yref": "paper", "x0": x0, "x1": x1, "y0": 0, "y1": 1, "fillcolor": color,
            "line": {"width": 0}, "layer": "below"}  # fmt: skip


def vline(x: float, color: str) -> Chart:
    """A line over the whole height."""
    return {"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "layer": "below",
            "line": {"color": color, "width": 1.5}}  # fmt: skip


def note(text: str, **place: Any) -> Chart:
    """Words at a place in the chart."""
    return {"text": text, "showarrow": False, "font": {"size": 11, "color": "--muted"}} | place


def legend() -> Chart:
    """A legend above the chart, in a row."""
    return {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "reversed"}
