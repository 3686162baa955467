"""The charts of a probe on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping
from typing import Any

from satlens.report.chart import (
    LAYER_AXIS,
    Chart,
    band,
    error,
    legend,
    note,
    point,
    rows_layout,
    vline,
)
from satlens.report.probe.tables import PROBES, shown_controls
from satlens.report.words import CONTROL_NAMES, known, number, part


def controls(results: Mapping[str, Any]) -> Chart | None:
    """The accuracy of both probes with intervals, above every control; chance as a line."""
    chance = results["labels"]["chance"]
    found = {key: one for key, one in shown_controls(results).items() if _known(one, "accuracy")}
    if not found or not known(chance):
        return None
    data, rows = [], []
    for key, name in PROBES.items():
        if _known(results[key], "accuracy"):
            data.append(point(results[key]["accuracy"], name, "--model"))
            rows.append(name)
    for key, control in found.items():
        row = CONTROL_NAMES[key]
        data.append({"type": "scatter", "mode": "markers", "x": control["values"],
                     "y": [row] * len(control["values"]),
                     "marker": {"symbol": "line-ns-open", "size": 10, "color": "--null/0.8",
                                "line": {"width": 1}},
                     "hovertemplate": f"{row}<br>one draw: %{{x:.3f}}<extra></extra>"})  # fmt: skip
        data.append(
            point(control["accuracy"], row, "--ink" if control["in_verdict"] else "--muted")
        )
        if not control["in_verdict"]:
            data[-1]["marker"] |= {"symbol": "square-open"}
        rows.append(row)
    layout = rows_layout(rows, "balanced accuracy", [vline(chance, "--null")])
    layout["annotations"] = [note(f"chance {number(chance)}", x=chance, y=1, yref="paper",
                                  xanchor="center", yanchor="bottom")]  # fmt: skip
    return {"data": data, "layout": layout | {"margin": {"l": 8, "r": 12, "t": 24, "b": 8}},
            "height": 120 + 30 * len(rows)}  # fmt: skip


def excess(results: Mapping[str, Any]) -> Chart | None:
    """The probe's accuracy minus each control's, with its interval over documents."""
    found = {key: one for key, one in shown_controls(results).items() if _known(one, "excess")}
    if not found:
        return None
    data = []
    for key, control in found.items():
        data.append(point(control["excess"], CONTROL_NAMES[key], "--model", "+.3f"))
        if not control["in_verdict"]:
            data[-1]["marker"] |= {"symbol": "square-open"}
    rows = [CONTROL_NAMES[key] for key in found]
    layout = rows_layout(rows, "accuracy above the control", [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 120 + 30 * len(rows)}


def layers(results: Mapping[str, Any]) -> Chart | None:
    """The accuracy at every layer in use, for one probe over all layers and for one a layer."""
    looks = {
        "per_layer": ("--fresh", "square-open", "dash"), "probe": ("--model", "circle", "solid"),
    }  # fmt: skip
    data = []
    for key, (color, symbol, dash) in looks.items():
        found = results[key]["layers"]
        if not found:
            continue
        series = {
            "type": "scatter", "mode": "lines+markers", "x": [one["layer"] for one in found],
            "y": [one["accuracy"]["value"] for one in found], "name": PROBES[key],
            "line": {"color": color, "width": 2, "dash": dash},
            "marker": {"color": color, "size": 8, "symbol": symbol}, "hovertemplate": "%{y:.3f}",
        }  # fmt: skip
        estimates = [(one["accuracy"]["value"], one["accuracy"]["ci"]) for one in found]
        data.append(series | error(estimates, "y", series))
    if not data:
        return None
    chance = results["labels"]["chance"]
    layout = {
        "xaxis": {"title": LAYER_AXIS, "tickformat": "d", "dtick": max(1, len(data[0]["x"]) // 8)},
        "yaxis": {"title": "balanced accuracy", "range": [0, 1]}, "hovermode": "x unified",
        "legend": legend(),
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": chance, "y1": chance,
                    "line": {"color": "--null", "width": 1.5, "dash": "dash"}}],
        "annotations": [note(f"chance {number(chance)}", x=0.99, xref="paper", y=chance, xanchor="right",
                             yanchor="top")],
    }  # fmt: skip
    return {"data": data, "layout": layout}


def confusion(results: Mapping[str, Any]) -> Chart | None:
    """Which stage is taken for which, as shares of the true stage."""
    shares = part(results, "probe", "confusion")
    if not shares:
        return None
    stages = [f"stage {i + 1}" for i in range(len(shares))]
    data = {
        "type": "heatmap", "x": stages, "y": stages, "z": shares, "zmin": 0, "zmax": 1, "hoverongaps": False,
        "colorscale": [[0, "--card"], [1, "--model"]], "xgap": 2, "ygap": 2,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.5, 1]},
        "text": [[number(share) if known(share) else "" for share in row] for row in shares],
        "texttemplate": "%{text}", "hovertemplate": "%{y} read as %{x}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": {"title": "predicted", "type": "category", "showgrid": False},
              "yaxis": {"title": "true", "type": "category", "autorange": "reversed",
                        "showgrid": False}}  # fmt: skip
    return {"data": [data], "layout": layout}


def counts(results: Mapping[str, Any]) -> Chart | None:
    """States of each stage at each layer before balancing; layers that are not used are shaded."""
    labels = results["labels"]
    rows, used = labels["counts"], set(labels["layers"])
    if not rows:
        return None
    data = [
        {"type": "bar", "x": list(range(len(rows))), "y": [row[i] for row in rows], "name": f"stage {i + 1}",
         "marker": {"color": f"--rank-{i + 1}"}, "hovertemplate": "%{y:,}"}
        for i in range(labels["stages"])
    ]  # fmt: skip
    unused = [layer for layer in range(len(rows)) if layer not in used]
    layout = {
        "barmode": "stack", "bargap": 0.12, "hovermode": "x unified",
        "legend": legend() | {"traceorder": "normal"},
        "xaxis": {"title": f"{LAYER_AXIS}; shaded: not used", "range": [-0.5, len(rows) - 0.5],
                  "tickformat": "d", "dtick": max(1, -(-len(rows) // 9))},
        "yaxis": {"title": "states"},
        "shapes": [band(layer - 0.5, layer + 0.5, "--null/0.22") for layer in unused],
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _known(entry: Mapping[str, Any], key: str) -> bool:
    return known(part(entry, key, "value"))
