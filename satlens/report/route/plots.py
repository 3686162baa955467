"""The charts of a route run on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping
from typing import Any

from satlens.report.chart import Chart, ends, error, legend, note, point, rows_layout, vline
from satlens.report.route.tables import WAYS, shown_nulls
from satlens.report.words import NULL_NAMES, known

_LOOKS = {
    "soft": ("--muted", "triangle-up-open"), "random": ("--null", "square-open"),
    "early_exit": ("--fresh", "diamond-open"), "hard": ("--model", "circle"),
}  # fmt: skip


def loss(results: Mapping[str, Any]) -> Chart | None:
    """Loss against what is saved, every lambda and seed: the router, chance, early exit."""
    runs = [one for one in results["runs"] if known(one["hard"]["loss"]["value"])]
    if not runs:
        return None
    base = runs[0]["open"]["loss"]["value"]
    layout = {
        "xaxis": {"title": "saved with hard gates", "tickformat": ".0%", "zeroline": False},
        "yaxis": {"title": "loss, nats a token"}, "hovermode": "closest", "legend": legend(),
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": base, "y1": base,
                    "layer": "below", "line": {"color": "--null", "width": 1.5, "dash": "dash"}}],
        "annotations": [note("no gates", x=0.01, xref="paper", y=base, xanchor="left",
                             yanchor="bottom")],
    }  # fmt: skip
    return {"data": [_points(runs, way) for way in _LOOKS], "layout": layout, "height": 380}


def _points(runs: list[Mapping[str, Any]], way: str) -> Chart:
    color, symbol = _LOOKS[way]
    name = WAYS.get(way, "early exit")
    found = [one[way]["loss"] for one in runs]
    series = {
        "type": "scatter", "mode": "markers", "name": name,
        "x": [one["hard"]["saved"]["value"] for one in runs], "y": [one["value"] for one in found],
        "marker": {"color": color, "size": 9, "symbol": symbol}, "line": {"color": color},
        "customdata": [
            f"lambda {run['penalty']:g}, seed {run['seed']}"
            + (f"<br>{one['value']:.3f}{ends(one['ci'], '.3f')}" if known(one["value"]) else "")
            for run, one in zip(runs, found, strict=True)
        ],
        "hovertemplate": f"{name}, %{{customdata}}<extra></extra>",
    }  # fmt: skip
    return series | error([(one["value"], one["ci"]) for one in found], "y", series)


def blocks(results: Mapping[str, Any]) -> Chart | None:
    """Block by block, the share that skips it among tokens fixed before it and among the others."""
    rows = results["saturation"]["by_block"]
    if not any(known(one["skip"]) for one in rows):
        return None
    looks = {
        "fixed": ("share fixed before it", "--null", "dot", "lines", "circle"),
        "skip_other": ("of those not yet fixed", "--fresh", "dash", "lines+markers", "square-open"),
        "skip_fixed": ("of those fixed before it", "--model", "solid", "lines+markers", "circle"),
    }
    data = [
        {"type": "scatter", "mode": mode, "name": name, "x": [one["block"] for one in rows],
         "y": [one[key] for one in rows], "line": {"color": color, "width": 2, "dash": dash},
         "marker": {"color": color, "size": 7, "symbol": symbol},
         "hovertemplate": f"{name}: %{{y:.1%}}<extra></extra>"}
        for key, (name, color, dash, mode, symbol) in looks.items()
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": "block", "tickformat": "d", "dtick": max(1, -(-len(rows) // 9))},
        "yaxis": {"title": "share that skips it", "range": [0, 1.02], "tickformat": ".0%"},
        "hovermode": "x unified", "legend": legend(),
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 380}


def correlation(results: Mapping[str, Any]) -> Chart | None:
    """The correlation of skipping and saturation: plain, given confounders, above each path null."""
    found = results["saturation"]
    rows = {"rank correlation": found["correlation"], "given confounders": found["partial"]}
    rows |= {
        f"above the {NULL_NAMES[kind]}": found["excess"][kind] for kind in shown_nulls(results)
    }
    rows = {row: one for row, one in rows.items() if known(one["value"])}
    if not rows:
        return None
    data = [
        point(one, row, "--ink" if row == "rank correlation" else "--model", "+.3f")
        for row, one in rows.items()
    ]
    layout = rows_layout(list(rows), "skipping against blocks left", [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 120 + 30 * len(rows)}
