"""The part of the page on a patch: whether a state or a direction forces the next stage."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.patch import tables as patch_tables
from satlens.report.patch.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.words import (
    CONDITION_MEANING,
    CONDITION_NAMES,
    DIRECTION_MEANING,
    DIRECTION_NAMES,
    count,
)

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

NAME = "Forcing the next stage"
QUESTION = (
    "When the state of a token whose answer is settled, or only the direction from stage to stage, is "
    "put into the stream of another, does that token go on to its next stage earlier than it would "
    "have, and more so than with states and directions that know nothing of it?"
)
FILES = "the numbers in patch/results.json, as one long table in patch/effects.parquet"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of patch.html, charts apart."""
    steering = results["steering"]
    wide = (
        patch_tables.published_table,
        patch_tables.forced_table,
        patch_tables.advance_table,
        patch_tables.kept_table,
    )
    return {
        "patching_table": html.table(patch_tables.patching_table(results)),
        "offset_tables": "".join(html.table(made(results, intervals=True)) for made in wide),
        "steering_table": html.table(patch_tables.steering_table(results)),
        "dose_table": html.table(patch_tables.dose_table(results, intervals=True)),
        "stage": str(steering["stage"]), "next_stage": str(steering["stage"] + 1),
        "condition_list": html.meanings(
            "What is put in", patch_tables.shown(results["patching"]["conditions"], CONDITION_NAMES),
            CONDITION_NAMES, CONDITION_MEANING),
        "direction_list": html.meanings(
            "What is added", patch_tables.shown(steering["conditions"], DIRECTION_NAMES),
            DIRECTION_NAMES, DIRECTION_MEANING),
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is left of patching and of steering over their strictest controls."""
    stage = results["steering"]["stage"]
    asked = (
        ("transition_by_patching", "of pairs forced on to rank 2 by the patch", CONDITION_NAMES),
        ("transition_by_steering", f"of tokens forced out of stage {stage} by a direction", DIRECTION_NAMES),
    )  # fmt: skip
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    return [html.effect_tile(found.get(name), words, names) for name, words, names in asked]


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    if chart.startswith("steer"):
        steering = results["steering"]
        return f"{count(steering['n'], 'token')}, {count(steering['documents'], 'document')}."
    pairs = results["pairs"]
    return f"{count(pairs['used'], 'pair')}, {count(pairs['documents'], 'document')}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks or stages that the charts need."""
    return 0
