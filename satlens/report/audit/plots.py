"""The charts of an audit on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping
from typing import Any

from satlens.report.chart import (
    LAYER_AXIS,
    Chart,
    band,
    error,
    layer_axis,
    legend,
    note,
    point,
    rows_layout,
    vline,
)
from satlens.report.words import NULL_NAMES, known, part

MOST_ROWS = 10
"""Rows of a histogram that a reader can still tell apart."""


def survival(results: Mapping[str, Any], kind: str) -> Chart | None:
    """Share of tokens fixed by each layer, one curve a rank, with its interval as a band."""
    curves = part(results, "saturation", kind, "survival")
    if not curves or not curves["curves"]:
        return None
    layers, data = curves["layers"], []
    for line in curves["curves"]:
        color, name = f"--rank-{line['rank']}", f"rank {line['rank']}"
        step = {"x": layers, "type": "scatter", "mode": "lines", "legendgroup": name}
        edge = step | {"hoverinfo": "skip", "showlegend": False}
        data += [
            edge | {"y": line["ci_low"], "line": {"width": 0, "shape": "hv"}},
            edge | {"y": line["ci_high"], "line": {"width": 0, "shape": "hv"}, "fill": "tonexty",
                    "fillcolor": f"{color}/0.16"},
            step | {"y": line["fixed"], "name": name, "line": {"color": color, "shape": "hv", "width": 2},
                    "hovertemplate": "%{y:.0%}"},
        ]  # fmt: skip
    layout = layer_axis(layers[-1]) | {
        "yaxis": {"title": "share of tokens fixed", "range": [0, 1.02], "tickformat": ".0%"},
        "hovermode": "x unified", "legend": legend() | {"traceorder": "normal"},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def histogram(results: Mapping[str, Any], kind: str = "trained") -> Chart | None:
    """Tokens per saturation layer, one row a rank, the first ranks; the censored bar is hatched."""
    every = part(results, "saturation", kind, "histogram")
    if not every:
        return None
    rows = every[:MOST_ROWS]
    data: list[Chart] = []
    layout: Chart = {"showlegend": False, "bargap": 0.1}
    step = 1 / len(rows)
    for i, counts in enumerate(rows):
        last, axis = len(counts) - 1, "" if i == 0 else str(i + 1)
        shape = [""] * last + ["/"]
        data.append({
            "type": "bar", "x": list(range(len(counts))), "y": counts, "yaxis": f"y{axis}",
            "name": f"rank {i + 1}", "hovertemplate": "%{y:,} tokens at layer %{x}",
            "marker": {"color": f"--rank-{i + 1}", "pattern": {"shape": shape, "bgcolor": "--card"}},
        })  # fmt: skip
        layout[f"yaxis{axis}"] = {
            "domain": [1 - (i + 1) * step + 0.15 * step, 1 - i * step], "nticks": 3,
            "title": {"text": f"rank {i + 1}", "standoff": 4}, "tickfont": {"size": 10},
        }  # fmt: skip
    axis = layer_axis(len(rows[0]) - 1)["xaxis"] | {
        "anchor": "y" + (str(len(rows)) if rows[1:] else "")
    }
    if len(rows) < len(every):
        axis["title"] += f"; ranks 1 to {len(rows)} of {len(every)}"
    return {
        "data": data,
        "layout": layout | {"xaxis": axis},
        "height": max(260, 70 * len(rows) + 60),
    }


def rank_to_place(results: Mapping[str, Any]) -> Chart | None:
    """The mean place of each rank's saturation layer among the token's k, trained and untrained."""
    places = part(results, "order", "trained", "paper", "rank_to_place")
    if not places or len(places) < 2:
        return None
    k = len(places)
    ranks, middle = list(range(1, k + 1)), (k + 1) / 2
    guide = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    data = [
        guide | {"x": ranks, "y": ranks, "name": "perfect order",
                 "line": {"color": "--null", "dash": "dot", "width": 1}},
        guide | {"x": [1, k], "y": [middle] * 2, "name": "no order, no ties",
                 "line": {"color": "--null", "dash": "dash", "width": 1}},
    ]  # fmt: skip
    for kind in ("untrained", "trained"):
        values = part(results, "order", kind, "paper", "rank_to_place")
        if values:
            data.append(_series(kind, ranks, values, "%{y:.2f}"))
    layout = {"xaxis": {"title": "rank in the final ranking", "dtick": 1 if k <= 12 else None},
              "yaxis": {"title": "mean place of its saturation layer", "range": [0.8, k + 0.2]},
              "hovermode": "x unified", "legend": legend()}  # fmt: skip
    return {"data": data, "layout": layout}


def pairs(results: Mapping[str, Any]) -> Chart | None:
    """The concordance of every pair of ranks of the trained model, 0.5 in the middle of the colours."""
    rows = part(results, "order", "trained", "concordance", "pairs")
    if not rows or len(rows) < 2:
        return None
    k = len(rows)
    upper, lower = [f"rank {i}" for i in range(1, k)], [f"rank {j}" for j in range(2, k + 1)]
    shares = [row[1:] for row in rows[:-1]]
    words = [
        [f"{value:.2f}" if known(value) and k <= 10 else "" for value in row] for row in shares
    ]
    data = {
        "type": "heatmap", "x": lower, "y": upper, "z": shares, "zmin": 0, "zmax": 1, "hoverongaps": False,
        "colorscale": [[0, "--fresh"], [0.5, "--card"], [1, "--model"]], "xgap": 2, "ygap": 2,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.5, 1]},
        "text": words, "texttemplate": "%{text}",
        "hovertemplate": "%{y} before %{x}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": {"title": "lower rank", "type": "category", "showgrid": False},
              "yaxis": {"title": "upper rank", "type": "category", "autorange": "reversed",
                        "showgrid": False}}  # fmt: skip
    return {"data": [data], "layout": layout}


def against_nulls(results: Mapping[str, Any], statistic: str) -> Chart | None:
    """The real model's statistic with its interval, above every null's draws."""
    real = part(results, "order", "trained", statistic)
    names = [name for name in NULL_NAMES if part(results, "nulls", name, statistic)]
    if not names or not known(part(real or {}, "value")):
        return None
    data = []
    for name in names:
        draws, row = results["nulls"][name][statistic], NULL_NAMES[name]
        data.append({"type": "scatter", "mode": "lines", "x": [draws["low"], draws["high"]], "y": [row] * 2,
                     "line": {"color": "--null/0.4", "width": 10}, "hoverinfo": "skip"})  # fmt: skip
        data.append({"type": "scatter", "mode": "markers", "x": draws["values"],
                     "y": [row] * len(draws["values"]),
                     "marker": {"symbol": "line-ns-open", "size": 10, "color": "--ink/0.7",
                                "line": {"width": 1}},
                     "hovertemplate": f"{row}<br>one draw: %{{x:.3f}}<extra></extra>"})  # fmt: skip
        if known(draws.get("real")) and draws["real"] != real["value"]:
            # A null drawn for a part of the tokens is held against the model on that part.
            data.append({"type": "scatter", "mode": "markers", "x": [draws["real"]], "y": [row],
                         "marker": {"symbol": "circle-open", "size": 9, "color": "--model"},
                         "hovertemplate": f"{row}<br>this model, same tokens: %{{x:.3f}}"
                                          "<extra></extra>"})  # fmt: skip
    data.append(point(real, "this model", "--model"))
    rows = ["this model", *(NULL_NAMES[name] for name in names)]
    shapes = [vline(real["value"], "--model")]
    if real["ci"]:
        low, high = real["ci"]
        shapes.append(band(low, high, "--model/0.14"))
    return {"data": data, "layout": rows_layout(rows, statistic.replace("_", " "), shapes),
            "height": 110 + 34 * len(rows)}  # fmt: skip


def excess(results: Mapping[str, Any]) -> Chart | None:
    """The real model's concordance minus each null's, with its interval over documents."""
    names = [name for name in NULL_NAMES if known(part(results, "nulls", name, "excess", "value"))]
    if not names:
        return None
    data = [
        point(results["nulls"][name]["excess"], NULL_NAMES[name], "--model", "+.3f")
        for name in names
    ]
    rows = [NULL_NAMES[name] for name in names]
    layout = rows_layout(rows, "excess concordance over the null", [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 110 + 34 * len(rows)}


def mean_layers(results: Mapping[str, Any]) -> Chart | None:
    """Mean saturation layer per rank, trained and untrained, with the path nulls beside."""
    if not part(results, "saturation", "trained", "ranks"):
        return None
    data = []
    for name, dash in (("rotated", "dot"), ("exchanged", "dash")):
        means = part(results, "nulls", name, "mean_layer")
        if means:
            data.append({"type": "scatter", "mode": "lines", "x": list(range(1, len(means) + 1)), "y": means,
                         "name": NULL_NAMES[name], "line": {"color": "--null", "dash": dash, "width": 1.5},
                         "hovertemplate": "%{y:.2f}"})  # fmt: skip
    for kind in ("untrained", "trained"):
        ranks = part(results, "saturation", kind, "ranks") or []
        if ranks:
            series = _series(
                kind, [r["rank"] for r in ranks], [r["mean_layer"] for r in ranks], "%{y:.2f}"
            )
            data.append(series | error([(r["mean_layer"], r["ci"]) for r in ranks], "y", series))
    last, k = results["model"]["n_layers"] - 1, len(results["saturation"]["trained"]["ranks"])
    layout = {
        "xaxis": {"title": "rank", "dtick": 1 if k <= 12 else None},
        "yaxis": {"title": LAYER_AXIS, "rangemode": "tozero", "range": [0, last * 1.08 + 0.2]},
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": last, "y1": last,
                    "line": {"color": "--muted", "width": 1}}],
        "annotations": [note(f"layer {last}, the output: censored", x=0.01, xref="paper", y=last,
                              xanchor="left", yanchor="bottom")],
        "hovermode": "x unified", "legend": legend(),
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _series(kind: str, x: list[Any], y: list[Any], hover: str) -> Chart:
    color, trained = ("--model", True) if kind == "trained" else ("--fresh", False)
    return {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "name": kind, "hovertemplate": hover,
        "line": {"color": color, "width": 2, "dash": "solid" if trained else "dash"},
        "marker": {"color": color, "size": 8, "symbol": "circle" if trained else "square-open"},
    }  # fmt: skip
