"""The charts of a rerank on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping, Sequence
from typing import Any

from satlens.report.chart import Chart, ends, error, legend, note, point, rows_layout, vline
from satlens.report.rerank.tables import beyond_temperature, of_rank, shown_nulls
from satlens.report.words import RERANK_NULL_NAMES, known


def by_lead(results: Mapping[str, Any]) -> Chart | None:
    """How often rank 2 is right by how early it was fixed, beside the model's own expectation."""
    one = of_rank(results, 2)
    entries = [found for found in one["by_lead"] if found["positions"]] if one else []
    if not entries:
        return None
    x = [found["lead"] for found in entries]
    sizes = [f"{found['positions']:,} positions" for found in entries]
    data = [
        _line(x, [found["expected"] for found in entries], "expected by the model", "--fresh",
              "square-open", "dash", sizes, 0.06),
        _line(x, [found["right"] for found in entries], "is the next token", "--model", "circle", "solid",
              sizes, -0.06),
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": "layers before the end; 0: only at the last", "tickformat": "d",
                  "dtick": max(1, -(-(max(x) + 1) // 9)), "zeroline": False},
        "yaxis": {"title": "share of positions", "rangemode": "tozero"}, "hovermode": "closest",
        "legend": legend(),
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 380}


def sweep(results: Mapping[str, Any]) -> Chart | None:
    """The published difference at every gap, and the same matched on the final output."""
    one = of_rank(results, 2)
    entries = one["sweep"] if one else []
    if not any(known(found["difference"]["value"]) for found in entries):
        return None
    x = [found["gap"] for found in entries]
    sizes = [f"{found['early']:,} early, {found['last']:,} last" for found in entries]
    data = [
        _line(x, [found["difference"] for found in entries], "as published", "--fresh", "square-open",
              "dash", sizes, 0.06),
        _line(x, [found["matched"] for found in entries], "matched on the final output", "--model",
              "circle", "solid", sizes, -0.06),
    ]  # fmt: skip
    gap = one["published"]["gap"] if one else 0
    layout = {
        "xaxis": {"title": "early: at least so many layers before the end", "tickformat": "d",
                  "dtick": max(1, -(-len(x) // 9)), "zeroline": False},
        "yaxis": {"title": "difference of shares right", "zeroline": True}, "hovermode": "closest",
        "legend": legend(), "shapes": [vline(gap, "--null")],
        "annotations": [note("published gap", x=gap, xanchor="left", y=0.02, yref="paper",
                             yanchor="bottom")],
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 380}


def gains(results: Mapping[str, Any]) -> Chart | None:
    """The gain of every rank with its interval, and the draws of every null of rank 2."""
    data, rows = [], []
    for one in results["early"]:
        gain = one["adjusted"]["gain"]
        if known(gain["value"]):
            row = f"rank {one['rank']}"
            data.append(point(gain, row, "--model" if one["rank"] == 2 else "--ink", "+.3f"))
            rows.append(row)
    if not data:
        return None
    for kind, one in shown_nulls(results).items():
        if not one["draws"]:
            continue
        row = f"rank 2, {RERANK_NULL_NAMES[kind]}"
        data.append({"type": "scatter", "mode": "markers", "x": one["values"],
                     "y": [row] * len(one["values"]),
                     "marker": {"symbol": "line-ns-open", "size": 12, "color": "--null/0.8",
                                "line": {"width": 1.5}},
                     "hovertemplate": f"{row}<br>one draw: %{{x:+.3f}}<extra></extra>"})  # fmt: skip
        rows.append(row)
    title = "gain: share right per SD"
    layout = rows_layout(rows, title, [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 120 + 30 * len(rows)}


def excess(results: Mapping[str, Any]) -> Chart | None:
    """The gain of rank 2 above each null, with its interval over documents."""
    found = {
        RERANK_NULL_NAMES[kind]: one["excess"]
        for kind, one in shown_nulls(results).items()
        if known(one["excess"]["value"])
    }
    if not found:
        return None
    data = [point(one, row, "--model", "+.3f") for row, one in found.items()]
    layout = rows_layout(list(found), "gain of rank 2 above the null", [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 120 + 30 * len(found)}


def loss(results: Mapping[str, Any]) -> Chart | None:
    """Paired differences of held-out loss."""
    return _differences(results, "loss", "loss saved, nats a token")


def accuracy(results: Mapping[str, Any]) -> Chart | None:
    """Paired differences of held-out top-1 accuracy."""
    return _differences(results, "accuracy", "top-1 accuracy gained")


def _differences(results: Mapping[str, Any], key: str, title: str) -> Chart | None:
    found = {
        row: one for row, one in beyond_temperature(results).items() if known(one[key]["value"])
    }
    if not found:
        return None
    data = [
        point(
            one[key], row, "--model" if one["against"] in ("ranks", "shuffled") else "--ink", "+.4f"
        )
        for row, one in found.items()
    ]
    layout = rows_layout(list(found), title, [vline(0, "--null")])
    return {"data": data, "layout": layout, "height": 120 + 30 * len(found)}


def _line(
    x: Sequence[int], estimates: Sequence[Any], name: str, color: str, symbol: str, dash: str,
    sizes: Sequence[str], offset: float,
) -> Chart:  # fmt: skip
    """One line with intervals, set a little aside so that two can be told apart."""
    line = {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": [at + offset for at in x],
        "y": [one["value"] for one in estimates],
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 8, "symbol": symbol},
        "customdata": [
            f"{at}: {one['value']:.3f}{ends(one['ci'], '.3f')}<br>{size}" if known(one["value"]) else ""
            for at, one, size in zip(x, estimates, sizes, strict=True)
        ],
        "hovertemplate": f"{name}<br>%{{customdata}}<extra></extra>",
    }  # fmt: skip
    return line | error([(one["value"], one["ci"]) for one in estimates], "y", line)
