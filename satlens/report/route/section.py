"""The part of the page on token routing: who may skip what, and what it costs."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.route import tables as route_tables
from satlens.report.route.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.words import NULL_MEANING, NULL_NAMES, count, number, part

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

NAME = "Skipping blocks"
QUESTION = (
    "Where could tokens of this model skip a block? Routers are trained on it while it stays as it "
    "is. Do they choose better than chance and than early exit, and do they skip where the answer "
    "is fixed?"
)
FILES = "the numbers in route/results.json, the gates of the first run in route/gates.safetensors"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html, charts apart."""
    names = ("losses", "differences", "classes", "saturation", "runs", "blocks")
    made = {
        f"route_{name}_table": html.table(getattr(route_tables, f"{name}_table")(results))
        for name in names
    }
    return made | {
        "route_null_list": html.meanings("What each null keeps", route_tables.shown_nulls(results),
                                         NULL_NAMES, NULL_MEANING)
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the first run saves and costs, and the correlation with saturation."""
    first = results["runs"][0]
    cost = part(first, "excess_loss", "hard - open") or {}
    saved = part(first, "hard", "saved", "value")
    partial = part(results, "saturation", "partial") or {}
    return [
        (number(cost.get("value"), 3, sign=True),
         f"nats a token, {number(saved, 2)} of layer operations saved {html.between(cost, 3, sign=True)}"),
        (number(partial.get("value"), 3, sign=True),
         f"correlation of skipping and saturation, given confounders {html.between(partial, 3, sign=True)}"),
    ]  # fmt: skip


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    first = results["runs"][0]
    tokens = first["tokens"] if chart == "route_loss" else results["saturation"]["tokens"]
    return f"{count(tokens, 'token')}, {count(first['documents'], 'document')}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return 1
