"""The part of the page on depth: where the model's blocks go."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.depth import tables as depth_tables
from satlens.report.depth.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.nouns import Nouns
from satlens.report.words import NULL_MEANING, NULL_NAMES, number, part

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

NAME = "Where the depth goes"
QUESTION = (
    "How many blocks does the model use until an answer is fixed? Is more of its depth left then than any "
    "path into the same end leaves, and what does theory say of a model this wide?"
)
FILES = "the numbers in depth/results.json"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html, charts apart."""
    made = {
        f"depth_{name}_table": html.table(getattr(depth_tables, f"{name}_table")(results))
        for name in ("shape", "ranks", "nulls")
    }
    nulls = [*depth_tables.shown_nulls(results), "untrained"]
    return made | {
        "depth_null_list": html.meanings("What each one keeps", nulls, NULL_NAMES, NULL_MEANING)
    }


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The blocks used until rank 1 is fixed, and the share left above the stricter path."""
    first = part(results["ranks"][0], "trained", "used") if results["ranks"] else None
    used = first or {}
    layers = results["depth"]["layers"]
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    return [
        (number(used.get("value"), 1),
         f"of {layers} blocks used until rank 1 is fixed {html.between(used, 1)}"),
        html.effect_tile(found.get("depth_left_after_the_answer"), "of the blocks left after rank 1",
                         NULL_NAMES),
    ]  # fmt: skip


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    corpus = results["corpus"]
    return f"{', '.join(Nouns.of(corpus).counted(corpus['tokens'], corpus['documents']))}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return 1
