"""The charts of a shortcut on the page (see `satlens.report.chart`). Nothing is computed here."""

from collections.abc import Mapping, Sequence
from typing import Any

from satlens.report.chart import LAYER_AXIS, Chart, ends, error, legend
from satlens.report.shortcut.tables import (
    KIND_NAMES,
    LENS_NAMES,
    NULLS,
    R2_FLOOR,
    shown_kinds,
    shown_lenses,
)
from satlens.report.words import known, part

SYMBOLS = ("circle", "square-open", "diamond-open", "triangle-up-open", "triangle-down-open", "cross-open",
           "x-open")  # fmt: skip


def precision(results: Mapping[str, Any]) -> Chart | None:
    """How often each lens tells the final top-1, by layer."""
    return _by_layer(results, "precision@1", "share of tokens")


def kl(results: Mapping[str, Any]) -> Chart | None:
    """The divergence of each lens from the final output, by layer."""
    return _by_layer(results, "kl", "nats", nulls=False)


def r2(results: Mapping[str, Any]) -> Chart | None:
    """How much of the final state each lens explains, by layer."""
    made = _by_layer(results, "r2", "r2 of the final state")
    if made and min(y for line in made["data"] for y in line["y"] if known(y)) < R2_FLOOR:
        made["layout"]["yaxis"] |= {"range": [R2_FLOOR, 1.03]}
    return made


def gain(results: Mapping[str, Any]) -> Chart | None:
    """Precision@1 above the identity, by layer."""
    found = {name: part(results, "gains", name, "precision@1", "by_layer") for name in LENS_NAMES}
    lines = {name: one for name, one in found.items() if one}
    return _lines(results["layers"], lines, LENS_NAMES, "share of tokens, above the identity", {})


def submodules(results: Mapping[str, Any]) -> Chart | None:
    """How often the final top-1 is kept with one kind of sub-module replaced, by layer."""
    kinds = shown_kinds(results)
    if not kinds:
        return None
    data: list[Chart] = []
    layers = results["submodules"]["layers"]
    for by, look in (("mean", {"dash": "dot"}), ("map", {})):
        lines = {kind: part(one, by, "precision@1", "by_layer") for kind, one in kinds.items()}
        names = {
            kind: name if by == "map" else f"{name}, mean output"
            for kind, name in KIND_NAMES.items()
        }
        made = _lines(layers, lines, names, "share of tokens", look)
        data += made["data"] if made else []
        layout = made["layout"] if made else {}
    if not data:
        return None
    layout["xaxis"] = layout["xaxis"] | {"title": "last layer left alone"}
    return {"data": data, "layout": layout, "height": 460}


def saturation(results: Mapping[str, Any]) -> Chart | None:
    """The mean saturation layer of each rank, through each lens."""
    found = part(results, "saturation", "lenses") or {}
    lines = {name: [one["layer"] for one in found[name]] for name in LENS_NAMES if found.get(name)}
    if not lines:
        return None
    ranks = list(range(1, max(map(len, lines.values())) + 1))
    made = _lines(ranks, lines, LENS_NAMES, "mean saturation layer", {})
    if made is None:
        return None
    made["layout"]["xaxis"] = {"title": "rank", "tickformat": "d", "dtick": 1}
    return made


def _by_layer(
    results: Mapping[str, Any], measure: str, label: str, nulls: bool = True
) -> Chart | None:
    lines = {
        name: part(one, "test", measure, "by_layer") or []
        for name, one in shown_lenses(results).items()
        if nulls or name not in NULLS
    }
    return _lines(results["layers"], lines, LENS_NAMES, label, {})


def _lines(
    x: Sequence[int],
    lines: Mapping[str, Sequence[Any]],
    names: Mapping[str, str],
    label: str,
    look: Mapping[str, Any],
) -> Chart | None:
    """One line a name with intervals; the one in question is drawn last, on top."""
    found = {name: some for name, some in lines.items() if _any(some)}
    if not found:
        return None
    places = [name for name in names if name not in NULLS]
    data = []
    for name in sorted(found, key=list(names).index, reverse=True):
        some = found[name]
        null = name in NULLS
        place = 6 if null else places.index(name)
        first = place == 0 and not look
        line = {
            "type": "scatter", "mode": "lines" if null else "lines+markers", "name": names[name],
            "x": list(x), "y": [part(one, "value") for one in some],
            "line": {"color": f"--series-{place % 7 + 1}", "width": 2.6 if first else 1.4,
                     "dash": {"mean": "dot", "shuffled": "dashdot"}.get(name, "solid")} | dict(look),
            "marker": {"color": f"--series-{place % 7 + 1}", "size": 8 if first else 6,
                       "symbol": SYMBOLS[place % 7]},
            "customdata": [_hover(at, one) for at, one in zip(x, some, strict=False)],
            "hovertemplate": f"{names[name]}<br>%{{customdata}}<extra></extra>",
        }  # fmt: skip
        estimates = [(part(one, "value"), part(one, "ci")) for one in some]
        data.append(line | error(estimates, "y", line))
    layout = {
        "xaxis": {"title": LAYER_AXIS, "tickformat": "d", "dtick": max(1, -(-len(x) // 9))},
        "yaxis": {"title": label}, "hovermode": "closest", "legend": legend(),
    }  # fmt: skip
    return {"data": data, "layout": layout, "height": 430}


def _hover(at: int, one: Any) -> str:
    if not known(part(one, "value")):
        return ""
    return f"{at}: {one['value']:.3f}{ends(one['ci'], '.3f')}"


def _any(some: Any) -> bool:
    return bool(some) and any(known(part(one, "value")) for one in some)
