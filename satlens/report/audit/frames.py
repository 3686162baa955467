"""The numbers of an audit as pandas frames, read from results (see `schema.json`)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from satlens.report.words import KINDS, drawn_nulls, part


def saturation_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a rank, for the trained and the untrained model: layers, coverage, censoring, flips.

    Intervals are in ``*_low`` and ``*_high``. Layers are 0 .. L-1, the state after block l.
    """
    rows = []
    for kind in KINDS:
        for entry in part(results, "saturation", kind, "ranks") or []:
            row = {"model": kind, "rank": entry["rank"], "mean_layer": entry["mean_layer"]}
            _spread(row, "mean_layer", entry["ci"])
            row["median_layer"] = entry["median_layer"]
            for name in ("coverage", "censored", "flips"):
                row[name] = part(entry, name, "value")
                _spread(row, name, part(entry, name, "ci"))
            row["changes"] = entry.get("changes")
            rows.append(row)
    return pd.DataFrame(rows)


def nulls_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a null: concordance and strict tau over its draws, and the real model's excess."""
    rows = []
    for name in drawn_nulls(results):
        null = results["nulls"][name]
        row = {"null": name, "draws": null["draws"]}
        for stat in ("concordance", "strict_tau"):
            row[stat] = null[stat]["mean"]
            _spread(row, stat, (null[stat]["low"], null[stat]["high"]))
        row["excess"] = null["excess"]["value"]
        _spread(row, "excess", null["excess"]["ci"])
        rows.append(row)
    return pd.DataFrame(rows)


def verdicts_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a verdict: the statement, what the numbers say, effect, interval, p and why."""
    rows = []
    for verdict in results["verdicts"]:
        effect = verdict["effect"]
        row = {key: verdict[key] for key in ("id", "statement", "verdict")}
        row |= {"effect": effect["name"], "value": effect["value"]}
        _spread(row, "value", effect["ci"])
        rows.append(row | {"null": verdict.get("null"), "p": verdict["p"], "why": verdict["why"]})
    return pd.DataFrame(rows)


def _spread(row: dict[str, Any], name: str, ends: Any) -> None:
    row[f"{name}_low"], row[f"{name}_high"] = ends if ends else (None, None)
