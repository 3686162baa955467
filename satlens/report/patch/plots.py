"""The charts of a patch on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from satlens.report.chart import Chart, ends, error, legend
from satlens.report.patch.tables import rank_two, shown, signed
from satlens.report.words import CONDITION_NAMES, DIRECTION_NAMES, known

SYMBOLS = ("circle", "square-open", "diamond-open", "triangle-up-open", "triangle-down-open", "cross-open",
           "x-open")  # fmt: skip
"""A marker for each line; the first is the one in question, filled."""


def published(results: Mapping[str, Any]) -> Chart | None:
    """The published offset plot: share of pairs that pass its rule, with every control in it."""
    return _by_offset(results, lambda one: one["published"], "share of pairs", share=True)


def forced(results: Mapping[str, Any]) -> Chart | None:
    """The share of pairs whose own rank 2 settles earlier, by offset, with every control in it."""
    return _by_offset(results, lambda one: one["forced"], "share of pairs")


def advance(results: Mapping[str, Any]) -> Chart | None:
    """Layers by which rank 2 settles earlier, by offset, with every control in it."""
    if results["patching"]["k"] < 2:
        return None
    return _by_offset(results, rank_two, "layers earlier")


def kept(results: Mapping[str, Any]) -> Chart | None:
    """The share of pairs whose final top-1 is unchanged, by offset, with every control in it."""
    return _by_offset(results, lambda one: one["kept"], "share of pairs", share=True)


def excess(results: Mapping[str, Any]) -> Chart | None:
    """The share forced by the paired donor minus that by each control, by offset."""
    patching = results["patching"]
    named = shown(patching["excess"], CONDITION_NAMES)
    values = {CONDITION_NAMES[name]: estimates for name, estimates in named.items()}
    places = {CONDITION_NAMES[name]: _place(name) for name in named}
    return _lines(
        patching["offsets"], values, places, ("offset", _OFFSET_AXIS), "share of pairs, beyond it"
    )


def dose_response(results: Mapping[str, Any]) -> Chart | None:
    """The share of tokens forced into the next stage, by strength, every direction."""
    return _by_alpha(results, "forced")


def transition(results: Mapping[str, Any]) -> Chart | None:
    """The share of tokens whose stage ends at the next layer, by strength, every direction."""
    return _by_alpha(results, "transition")


def dose_kept(results: Mapping[str, Any]) -> Chart | None:
    """The share of tokens whose final top-1 is unchanged, by strength, every direction."""
    return _by_alpha(results, "kept")


_OFFSET_AXIS = "offset to the donor's saturation layer"
_ALPHA_AXIS = "alpha, in lengths of the mean difference"


def _by_offset(
    results: Mapping[str, Any], pick: Callable[[Any], Any], label: str, share: bool = False
) -> Chart | None:
    patching = results["patching"]
    named = shown(patching["conditions"], CONDITION_NAMES)
    values = {CONDITION_NAMES[name]: pick(one) for name, one in named.items()}
    places = {CONDITION_NAMES[name]: _place(name) for name in named}
    return _lines(patching["offsets"], values, places, ("offset", _OFFSET_AXIS), label, share)


def _by_alpha(results: Mapping[str, Any], outcome: str) -> Chart | None:
    steering = results["steering"]
    named = shown(steering["conditions"], DIRECTION_NAMES)
    values = {DIRECTION_NAMES[name]: one[outcome] for name, one in named.items()}
    places = {name: i for i, name in enumerate(values)}
    share = outcome == "kept"  # transitions may be few, and would vanish on an axis up to 1
    return _lines(
        steering["alphas"], values, places, ("alpha", _ALPHA_AXIS), "share of tokens", share
    )


def _place(condition: str) -> int:
    """The colour and marker of a condition, the same in every chart: the paired donor is the first."""
    names = ["paired", *(name for name in CONDITION_NAMES if name != "paired")]
    return names.index(condition)


def _lines(
    grid: Sequence[float],
    values: Mapping[str, Sequence[Any]],
    places: Mapping[str, int],
    axis: tuple[str, str],
    label: str,
    share: bool = False,
) -> Chart | None:
    """One line a name with intervals, side by side so that they can be told apart."""
    found = {name: [one or _NOTHING for one in some] for name, some in values.items()}
    if not any(known(one["value"]) for some in found.values() for one in some):
        return None
    step = min((b - a for a, b in zip(grid, grid[1:], strict=False)), default=1.0)
    middle = (len(found) - 1) / 2
    data = []
    # The line in question is drawn last, on top.
    for i, (name, some) in sorted(enumerate(found.items()), key=lambda item: -places[item[1][0]]):
        color, first = f"--series-{places[name] + 1}", places[name] == 0
        line = {
            "type": "scatter", "mode": "lines+markers", "name": name,
            "x": [at + (i - middle) * step * 0.06 for at in grid], "y": [one["value"] for one in some],
            "line": {"color": color, "width": 2.5 if first else 1.3},
            "marker": {"color": color, "size": 9 if first else 7, "symbol": SYMBOLS[places[name]]},
            "customdata": [f"{axis[0]} {signed(at)}: {one['value']:.3f}{ends(one['ci'], '.3f')}"
                           if known(one["value"]) else "" for at, one in zip(grid, some, strict=True)],
            "hovertemplate": f"{name}<br>%{{customdata}}<extra></extra>",
        }  # fmt: skip
        data.append(line | error([(one["value"], one["ci"]) for one in some], "y", line))
    layout = {
        "xaxis": {"title": axis[1], "zeroline": True,
                  **({"dtick": max(1, len(grid) // 8), "tickformat": "d"} if axis[0] == "offset" else {})},
        "yaxis": {"title": label} | ({"range": [-0.03, 1.03], "tickformat": ".0%"} if share else {}),
        "hovermode": "closest", "legend": legend(),
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 430}


_NOTHING = {"value": None, "ci": None}
