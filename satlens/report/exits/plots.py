"""The charts of exits on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping, Sequence
from typing import Any

from satlens.report.chart import LAYER_AXIS, Chart, ends, error, legend, point, rows_layout, vline
from satlens.report.exits.tables import (
    POLICIES,
    SHIFT,
    STUDIES,
    Look,
    points_of,
    policies_of,
)
from satlens.report.words import known, number, part

LEFT = -0.3
"""Pictures of compute begin here: what costs more than that is no saving."""
UNKNOWN = Look(6, "dot", "circle-open", "o", "")
LENS_LINES = {
    "shortcut": (STUDIES["shortcut"], "--series-1", "circle", "solid"),
    "logit": (STUDIES["logit"], "--series-2", "square-open", "solid"),
    "shift": (SHIFT, "--series-7", "x", "dash"),
}
DARKEST = 0.3
"""Shares of tokens from here on have one colour: most tokens leave late, few would show else."""
DECAYING = "softmax response, decaying"


def compute(results: Mapping[str, Any]) -> Chart | None:
    """Agreement over the compute saved: every threshold of every policy, and the coin."""
    made = _curves(results, "compute_saved", "agreement")
    if made is not None:
        made["layout"]["xaxis"] |= {"title": "compute saved", "range": [LEFT, 1.0]}
    return made


def layers(results: Mapping[str, Any]) -> Chart | None:
    """Agreement over the layers saved."""
    return _curves(results, "layers_saved", "agreement")


def accuracy(results: Mapping[str, Any]) -> Chart | None:
    """Accuracy against the next token over the layers saved, as published."""
    return _curves(results, "layers_saved", "accuracy")


def excess(results: Mapping[str, Any]) -> Chart | None:
    """Agreement above that of the same exits at random, over the layers saved."""
    return _curves(results, "layers_saved", "excess", but=("fixed layer",))


def gain(results: Mapping[str, Any]) -> Chart | None:
    """Mean agreement at equal compute above the coin, by policy and lens."""
    rows, data = [], []
    for policy in policies_of(_logit(results)):
        for study, color, symbol in (
            ("logit", "--series-2", "square-open"), ("shortcut", "--series-1", "circle"),
            ("untrained", "--fresh", "diamond-open"),
        ):  # fmt: skip
            found = part(
                results, "studies", study, "frontiers", "agreement", "policies", policy, "gain"
            )
            if known(part(found, "value")):
                one = point(found, policy, color, "+.4f")
                first = not any(line["name"] == STUDIES[study] for line in data)
                one["marker"] |= {"symbol": symbol, "size": 9}
                data.append(
                    one | {"name": STUDIES[study], "showlegend": first, "legendgroup": study}
                )
                rows.append(policy)
    if not data:
        return None
    rows = list(dict.fromkeys(rows))
    layout = rows_layout(rows, "mean agreement above the coin", [vline(0, "--null")])
    return {"data": data, "layout": layout | {"showlegend": True, "legend": legend()},
            "height": 150 + 32 * len(rows)}  # fmt: skip


def lens(results: Mapping[str, Any]) -> Chart | None:
    """The decaying softmax response with each lens: agreement over the layers saved."""
    data = []
    for name, (words, color, symbol, dash) in LENS_LINES.items():
        some = _lens_points(results, name)
        if some:
            data.append(_line(some, "layers_saved", "agreement", words, color, symbol, dash))
    if len(data) < 2:
        return None
    return {"data": data, "layout": _layout("layers saved", "agreement with the full model")}


def depth(results: Mapping[str, Any]) -> Chart | None:
    """After which block the tokens leave, at the threshold of each policy nearest to 95 % agreement."""
    study = _logit(results)
    rows = [name for name in policies_of(study) if known(part(study, "near", name))]
    if not study or not rows:
        return None
    shares = [study["points"][study["near"][name]]["exits"] for name in rows]
    data = {
        "type": "heatmap", "x": list(range(len(shares[0]))), "y": rows, "z": shares,
        "zmin": 0, "zmax": DARKEST,
        "colorscale": [[0, "--card"], [1, "--model"]], "xgap": 1, "ygap": 2,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.1, 0.2, 0.3]},
        "hovertemplate": "%{y}<br>after block %{x}: %{z:.3f} of the tokens<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": {"title": LAYER_AXIS, "tickformat": "d", "showgrid": False},
              "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False}}  # fmt: skip
    return {"data": [data], "layout": layout, "height": 140 + 30 * len(rows)}


def _logit(results: Mapping[str, Any]) -> Any:
    return part(results, "studies", "logit")


def _lens_points(results: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The points of the decaying softmax response with one lens."""
    if name == "shift":
        return results.get("shift") or []
    study = part(results, "studies", name)
    return points_of(study, DECAYING) if study else []


def _curves(results: Mapping[str, Any], x: str, y: str, but: Sequence[str] = ()) -> Chart | None:
    """Every policy with the logit lens through its thresholds; the coin and the oracle."""
    study = _logit(results)
    data: list[Chart] = []
    for name in reversed(policies_of(study)):
        some = [] if name in but else points_of(study, name)
        if any(known(one[y]["value"]) for one in some):
            look = POLICIES.get(name, UNKNOWN)
            data.append(_line(some, x, y, name, f"--series-{look.color}", look.symbol, look.dash))
    if not data:
        return None
    if y != "excess":
        data = [*_coin(study, x, y), *data, *_oracle(study, x, y)]
    words = {"compute_saved": "compute saved", "layers_saved": "layers saved"}[x]
    labels = {
        "agreement": "agreement with the full model", "accuracy": "next token right",
        "excess": "agreement above the same exits at random",
    }  # fmt: skip
    return {"data": data, "layout": _layout(words, labels[y]), "height": 500}


def _line(
    some: Sequence[Mapping[str, Any]], x: str, y: str, name: str, color: str, symbol: str, dash: str
) -> Chart:
    line = {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": [one[x]["value"] for one in some],
        "y": [one[y]["value"] for one in some], "line": {"color": color, "width": 1.6, "dash": dash},
        "marker": {"color": color, "size": 7, "symbol": symbol},
        "customdata": [_hover(one, x, y) for one in some],
        "hovertemplate": f"{name}<br>%{{customdata}}<extra></extra>",
    }  # fmt: skip
    return line | error([(one[y]["value"], one[y]["ci"]) for one in some], "y", line)


def _hover(one: Mapping[str, Any], x: str, y: str) -> str:
    lines = (
        f"threshold {number(one['threshold'], 3)}",
        f"{y} {number(one[y]['value'], 3)}{ends(one[y]['ci'], '.3f')}",
        f"{x.replace('_', ' ')} {number(one[x]['value'], 3)}",
        f"after block {number(one['exit_layer']['value'], 1)} on average",
    )
    return "<br>".join(lines)


def _coin(study: Mapping[str, Any], x: str, y: str) -> list[Chart]:
    """Never and at once, and what lies between."""
    found = part(study, "coin", x)
    full = {"agreement": 1.0, "accuracy": study["full"]["accuracy"]}[y]
    first = part(study, "coin", y)
    if not all(map(known, (found, full, first))):
        return []
    return [{
        "type": "scatter", "mode": "lines", "name": "coin", "x": [0, found], "y": [full, first],
        "line": {"color": "--null", "width": 1.6, "dash": "dot"}, "hoverinfo": "skip",
    }]  # fmt: skip


def _oracle(study: Mapping[str, Any], x: str, y: str) -> list[Chart]:
    """The bound."""
    if not all(known(part(study, "oracle", axis, "value")) for axis in (x, y)):
        return []
    return [{
        "type": "scatter", "mode": "markers", "name": "oracle",
        "x": [study["oracle"][x]["value"]], "y": [study["oracle"][y]["value"]],
        "marker": {"color": "--ink", "size": 12, "symbol": "star-open"},
        "hovertemplate": "oracle: %{x:.3f} saved, %{y:.3f}<extra></extra>",
    }]  # fmt: skip


def _layout(x: str, y: str) -> Chart:
    return {
        "xaxis": {"title": x, "tickformat": ".0%", "zeroline": True}, "yaxis": {"title": y},
        "hovermode": "closest", "legend": legend(),
    }  # fmt: skip
