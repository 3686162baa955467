"""The part of the page on a shortcut: what a linear map tells of the end, and what it may stand for."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.shortcut import tables as shortcut_tables
from satlens.report.shortcut.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.words import count, number

__all__ = [
    "CAPTIONS",
    "CHARTS",
    "FILES",
    "MISSING",
    "NAME",
    "QUESTION",
    "holes",
    "ranks",
    "size",
    "tiles",
]

NAME = "Linear shortcuts"
QUESTION = (
    "How much of the final output can be read off an early state by one linear map, beyond reading it as if "
    "it were the last (the logit lens), and beyond putting its mean right? And which part of a block can a "
    "linear map stand for?"
)
FILES = (
    "the numbers in shortcut/results.json, the maps in shortcut/shortcut.safetensors, the tuned lens (if one "
    "was trained) in shortcut/tuned.safetensors"
)


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html, charts apart."""
    names = ("lenses", "runs", "gains", "layers", "submodules", "saturation")
    made = {
        f"{name}_table": html.table(getattr(shortcut_tables, f"{name}_table")(results))
        for name in names
    }
    return made | {
        "lens_list": html.meanings("What each lens is", shortcut_tables.shown_lenses(results),
                                   shortcut_tables.LENS_NAMES, shortcut_tables.LENS_MEANING),
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a shortcut tells more than the identity, early and late."""
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    made = []
    for run, layers in results["runs"].items():
        if run == "middle":
            continue
        verdict = found.get(f"shortcut_{run}")
        effect = {} if verdict is None else verdict["effect"]
        null = "the identity" if verdict is None else f"the {verdict['null']}"
        span = f"layers {layers[0]} to {layers[-1]}" if layers else run
        made.append((
            number(effect.get("value"), 3, sign=True),
            f"of the final top-1 told by a linear shortcut beyond {null}, {span} "
            f"{html.between(effect, 3, sign=True)}",
        ))  # fmt: skip
    return made


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    found = results["split"]["test"]
    if chart == "shortcut_submodules" and results["submodules"]:
        found = results["submodules"]
    return f"{count(found['tokens'], 'token')}, {count(found['documents'] or 0, 'document')}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return 1
