"""The part of the page on exits: what leaving early gives, and what it saves when looking is counted."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.exits import tables as exits_tables
from satlens.report.exits.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.exits.tables import POLICIES, policies_of, saved_at
from satlens.report.words import count, number, part

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

WORDS = {name: name for name in (*POLICIES, "a coin between never and at once")}
NAME = "Leaving early"
QUESTION = (
    "If a token leaves after block l and is answered there, how often is it the full model's answer, and "
    "what does that save once the deciding is paid for? Does a probe that says 'rank 1 is fixed' decide "
    "better than other policies do, and do linear shortcuts save more layers?"
)
FILES = "the numbers in exits/results.json, every threshold in exits/policies.parquet"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html, charts apart."""
    names = ("frontier", "levels", "lenses", "points", "savings", "calibration", "cost")
    made = {
        f"{name}_table": html.table(getattr(exits_tables, f"{name}_table")(results))
        for name in names
    }
    shown = policies_of(results["studies"]["logit"])
    words = {name: POLICIES[name].meaning for name in shown if name in POLICIES}
    return made | {
        "policy_list": html.meanings("When each policy leaves", words, {n: n for n in words}, words),
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the stage probe gains at equal compute, and what softmax response saves with either lens."""
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    studies = results["studies"]
    made = [
        html.effect_tile(
            found.get("stage_exit"), "agreement of the stage probe at equal compute", WORDS
        )
    ]
    for name, words in (("logit", "logit lens"), ("shortcut", "linear shortcuts")):
        saved = saved_at(studies.get(name), "layers", "softmax response, decaying")
        if part(saved, "value") is not None:
            made.append((
                number(saved["value"], 3),
                f"of the layers saved at 95 % agreement, softmax response, {words} {html.between(saved, 3)}",
            ))  # fmt: skip
    return made


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    found = results["split"]["held_out"]
    return f"{count(found['tokens'], 'token')}, {count(found['documents'], 'held-out document')}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return 1
