"""The part of the page on a probe: whether the state tells its stage, beyond what else tells it."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.probe import tables as probe_tables
from satlens.report.probe.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.words import CONTROL_MEANING, CONTROL_NAMES, count, number

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

NAME = "Reading the stage"
QUESTION = (
    "A state is in stage i (the paper's task i) while the ranks above i are fixed and rank i is not "
    "yet. Does the residual state tell its stage, beyond what the layer, the token, the final margins "
    "or any path that converges tell?"
)
FILES = "the numbers in probe/results.json, the fitted probe in probe/probe.safetensors"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of probe.html, charts apart."""
    return {
        "accuracy_table": html.table(probe_tables.accuracy_table(results)),
        "stages_table": html.table(probe_tables.stages_table(results)),
        "counts_table": html.table(probe_tables.counts_table(results)),
        "control_list": html.meanings("What each control reads", probe_tables.shown_controls(results),
                                      CONTROL_NAMES, CONTROL_MEANING),
        "skipped": _skipped(results["labels"]["skipped_layers"]),
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The accuracy with its chance, and what is left of it over the strictest control."""
    accuracy = results["probe"]["accuracy"]
    found = {verdict["id"]: verdict for verdict in results["verdicts"]}
    return [
        (number(accuracy["value"], 3), f"balanced accuracy of the stage {html.between(accuracy, 3)}; chance "
                                       f"{number(results['labels']['chance'])}"),
        html.effect_tile(found.get("stage_decodable"), "of it", CONTROL_NAMES),
    ]  # fmt: skip


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    labels = results["labels"]
    n = sum(map(sum, labels["counts"])) if chart == "probe_counts" else labels["states"]
    return f"{count(n, 'state')}, {count(labels['documents'], 'document')}."


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks or stages that the charts need."""
    return results["labels"]["stages"]


def _skipped(layers: Mapping[str, str]) -> str:
    if not layers:
        return ""
    rows = "".join(
        f"<li>layer {html.safe(layer)}: {html.safe(why)}</li>" for layer, why in layers.items()
    )
    return f"<details><summary>Layers left out, and why</summary><ul>{rows}</ul></details>"
