"""The charts of a depth run on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping
from typing import Any

from satlens.report.chart import Chart, ends, error, legend, note, point, rows_layout, vline
from satlens.report.depth.tables import shown_nulls
from satlens.report.words import KINDS, NULL_NAMES, known

_LOOKS = {
    "trained": ("--model", "circle", "solid"),
    "untrained": ("--fresh", "square-open", "dash"),
}
_DASHES = {"rotated": "dot", "exchanged": "dashdot"}


def used(results: Mapping[str, Any]) -> Chart | None:
    """Blocks used until each rank is fixed: the model, its untrained twin, other ways into the same end."""
    ranks = results["ranks"]
    if not any(known(one["trained"]["used"]["value"]) for one in ranks):
        return None
    data = [_null(results, kind) for kind in shown_nulls(results)]
    data += [_line(ranks, kind) for kind in KINDS if all(one[kind] is not None for one in ranks)]
    threshold, layers = results["depth"]["threshold"], results["depth"]["layers"]
    layout = {
        "xaxis": {"title": "rank", "tickformat": "d", "dtick": max(1, -(-len(ranks) // 10))},
        "yaxis": {"title": "blocks used", "range": [0, 1.05 * layers]}, "hovermode": "closest",
        "legend": legend(),
        "shapes": [_hline(layers, "solid"), _hline(threshold, "dash")],
        "annotations": [_at(threshold, "log3 of the width"), _at(layers, "all blocks")],
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 380}


def left(results: Mapping[str, Any]) -> Chart | None:
    """The share of the depth that is left after each rank, above that of each path null."""
    data, rows = [], []
    for kind in shown_nulls(results):
        for one in results["ranks"]:
            found = one["trained"]["nulls"][kind]["excess"]
            if known(found["value"]):
                row = f"rank {one['rank']}, over {NULL_NAMES[kind]}"
                data.append(point(found, row, "--model" if one["rank"] == 1 else "--ink", "+.3f"))
                rows.append(row)
    if not data:
        return None
    layout = rows_layout(rows, "share of the blocks left, above the path", [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 120 + 26 * len(rows)}


def _line(ranks: list[Mapping[str, Any]], kind: str) -> Chart:
    color, symbol, dash = _LOOKS[kind]
    found = [one[kind]["used"] for one in ranks]
    line = {
        "type": "scatter", "mode": "lines+markers", "name": kind, "x": [one["rank"] for one in ranks],
        "y": [one["value"] for one in found], "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 8, "symbol": symbol},
        "customdata": [f"{one['value']:.2f}{ends(one['ci'], '.2f')}" if known(one["value"]) else ""
                       for one in found],
        "hovertemplate": f"{kind}, rank %{{x}}<br>%{{customdata}}<extra></extra>",
    }  # fmt: skip
    return line | error([(one["value"], one["ci"]) for one in found], "y", line)


def _null(results: Mapping[str, Any], kind: str) -> Chart:
    return {
        "type": "scatter", "mode": "lines", "name": NULL_NAMES[kind],
        "x": [one["rank"] for one in results["ranks"]],
        "y": [one["trained"]["nulls"][kind]["used"] for one in results["ranks"]],
        "line": {"color": "--null", "width": 1.5, "dash": _DASHES[kind]},
        "hovertemplate": f"{NULL_NAMES[kind]}, rank %{{x}}<br>%{{y:.2f}}<extra></extra>",
    }  # fmt: skip


def _hline(y: float, dash: str) -> Chart:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "layer": "below",
            "line": {"color": "--null", "width": 1, "dash": dash}}  # fmt: skip


def _at(y: float, text: str) -> Chart:
    return note(text, x=0.99, xref="paper", y=y, xanchor="right", yanchor="bottom")
