"""The part of the page on training dynamics: what moves, and when order appears."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.dynamics import tables as dynamics_tables
from satlens.report.dynamics.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.nouns import Nouns
from satlens.report.words import NULL_MEANING, NULL_NAMES, count

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

NAME = "Through training"
QUESTION = (
    "How did this model come to be? At which step does order beyond converging appear, if ever, and does "
    "training move the answer to other layers?"
)
FILES = "the numbers in dynamics/results.json"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html, charts apart."""
    made = {
        f"dynamics_{name}_table": html.table(getattr(dynamics_tables, f"{name}_table")(results))
        for name in ("course", "order", "excess", "checkpoints")
    }
    nulls = [*dynamics_tables.shown_nulls(results), "untrained"]
    return made | {
        "dynamics_null_list": html.meanings("What each one keeps", nulls, NULL_NAMES, NULL_MEANING)
    }


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """From which step on there is order, and how far rank 1 moved."""
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    step = results["appears"]
    return [
        ("no step" if step is None else f"step {step:,}", "from which on there is order beyond converging"),
        html.effect_tile(found.get("answer_moves_to_later_layers"),
                         "of the blocks: how much later rank 1 is fixed at the last checkpoint", NULL_NAMES),
    ]  # fmt: skip


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    corpus = results["corpus"]
    sizes = [count(len(results["checkpoints"]), "checkpoint")]
    sizes += Nouns.of(corpus).counted(corpus["tokens"], corpus["documents"])
    return f"{', '.join(sizes)}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return len(results["checkpoints"][0]["ranks"])
