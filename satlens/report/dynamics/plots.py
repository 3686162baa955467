"""The charts of a dynamics run on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping, Sequence
from typing import Any

from satlens.report.chart import Chart, ends, error, legend, note
from satlens.report.dynamics.steps import PAGE, positions, ticks
from satlens.report.dynamics.tables import shown_nulls, step
from satlens.report.words import NULL_NAMES, known

NOTHING = {"value": None, "ci": None}
_LOOKS = (("--model", "circle", "solid"), ("--fresh", "square-open", "dash"))


def loss(results: Mapping[str, Any]) -> Chart | None:
    """Loss over the steps."""
    every = results["checkpoints"]
    found = [one["loss"] for one in every]
    if not any(known(one["value"]) for one in found):
        return None
    data = [_line(every, found, "loss", ("--model", "circle", "solid"), ".3f")]
    return {"data": data, "layout": _layout(every, "loss, nats a token") | {"showlegend": False},
            "height": 360}  # fmt: skip


def layers(results: Mapping[str, Any]) -> Chart | None:
    """Mean saturation layer of each rank over the steps."""
    every = results["checkpoints"]
    if not any(known(rank["layer"]["value"]) for one in every for rank in one["ranks"]):
        return None
    data = [
        _line(every, [one["ranks"][i]["layer"] for one in every], f"rank {i + 1}",
              (f"--rank-{i + 1}", "circle", "solid"), ".2f")
        for i in range(len(every[0]["ranks"]))
    ]  # fmt: skip
    last = results["model"]["n_layers"] - 1
    layout = _layout(every, "mean saturation layer")
    layout["yaxis"]["range"] = [0, 1.06 * last]
    layout |= {
        "legend": legend() | {"traceorder": "normal"}, "shapes": [_hline(last, "solid")],
        "annotations": [note("the output", x=0.99, xref="paper", y=last, xanchor="right", yanchor="bottom")],
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 360}


def excess(results: Mapping[str, Any]) -> Chart | None:
    """What the concordance has above each path null over the steps."""
    every = results["checkpoints"]
    data = []
    for at, kind in enumerate(shown_nulls(results)):
        found = [one["excess"].get(kind, NOTHING) for one in every]
        if any(known(one["value"]) for one in found):
            name = f"over {NULL_NAMES[kind]}"
            data.append(_line(every, found, name, _LOOKS[at % 2], "+.3f"))
    if not data:
        return None
    layout = _layout(every, "concordance, excess") | {
        "shapes": [_hline(0, "dot")], "legend": legend() | {"traceorder": "normal"},
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 380}


def _line(
    every: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    name: str,
    look: tuple[str, str, str],
    form: str,
) -> Chart:
    color, symbol, dash = look
    line = {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "x": positions([one["step"] for one in every]), "y": [one["value"] for one in found],
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "size": 8, "symbol": symbol},
        "customdata": [
            f"step {step(one)}<br>{value['value']:{form}}{ends(value['ci'], form)}"
            if known(value["value"]) else "" for one, value in zip(every, found, strict=True)
        ],
        "hovertemplate": f"{name}, %{{customdata}}<extra></extra>",
    }  # fmt: skip
    return line | error([(one["value"], one["ci"]) for one in found], "y", line)


def _layout(every: Sequence[Mapping[str, Any]], title: str) -> Chart:
    places, words = ticks([one["step"] for one in every], PAGE)
    return {
        "xaxis": {"title": "step", "tickvals": places, "ticktext": words, "zeroline": False},
        "yaxis": {"title": title, "zeroline": False}, "hovermode": "closest",
    }  # fmt: skip


def _hline(y: float, dash: str) -> Chart:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "layer": "below",
            "line": {"color": "--null", "width": 1.5, "dash": dash}}  # fmt: skip
