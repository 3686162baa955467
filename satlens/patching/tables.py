"""A `PatchingReport` as plain values: a dictionary ready for JSON, and one long table."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from satlens.patching.directions import CONTROLS as OTHER_DIRECTIONS
from satlens.patching.donors import CONTROLS
from satlens.patching.effects import Resampling
from satlens.patching.result import CLEAN, PatchingResult
from satlens.patching.steered import SteeringResult
from satlens.resampling import Intervals, finite

if TYPE_CHECKING:
    from satlens.patching.summary import PatchingReport


def to_dict(report: "PatchingReport") -> dict[str, Any]:
    """See `PatchingReport.to_dict`."""
    return {
        "pairs": _pairs(report),
        "patching": _patching(report.patched, report.how),
        "steering": _steering(report.steered, report.how),
        "verdicts": [one.to_dict() for one in report.verdicts],
        "settings": dict(report.settings),
        "notes": list(report.notes),
    }


def _list(estimates: Intervals) -> list[Any]:
    """Estimates in the shape of the intervals, as nested lists."""
    shape = np.shape(estimates.value)
    if len(shape) == 1:
        return [estimates[i].to_dict() for i in range(shape[0])]
    return [[estimates[i, j].to_dict() for j in range(shape[1])] for i in range(shape[0])]


def _by_rank(estimates: Intervals) -> list[Any]:
    """From ``[offset, k]`` to one list a rank."""
    return [list(one) for one in zip(*_list(estimates), strict=True)]


def _pairs(report: "PatchingReport") -> dict[str, Any]:
    pairs = report.patched.pairs
    return {
        "found": report.found,
        "used": len(pairs),
        "documents": len(np.unique(pairs.doc)),
        "gap": pairs.settings["gap"],
        "across": pairs.settings["across"],
        "donor_layer": finite(pairs.donor_layer.mean()),
        "recipient_layer": finite(pairs.recipient_layer.mean()),
    }


def _patching(result: PatchingResult, how: Resampling) -> dict[str, Any]:
    controls = [name for name in CONTROLS if name in result.conditions]
    return {
        "k": result.k,
        "offsets": list(result.offsets),
        "conditions": {name: _condition(result, name, how) for name in (CLEAN, *result.conditions)},
        "excess": {name: _list(result.excess(name, how=how)) for name in controls},
    }


def _condition(result: PatchingResult, name: str, how: Resampling) -> dict[str, Any]:
    plain = ("published", "forced", "kept", "own_rank2", "donor_rank2")
    row = {outcome: _list(result.estimate(outcome, name, how)) for outcome in plain}
    for outcome in ("advance", "stay"):
        row[outcome] = _by_rank(result.estimate(outcome, name, how))
    return {"n": result.count(name), **row}


def _steering(result: SteeringResult, how: Resampling) -> dict[str, Any]:
    controls = [name for name in OTHER_DIRECTIONS if name in result.conditions]
    outcomes = ("forced", "transition", "advance", "kept")
    return {
        "stage": result.stage,
        "alphas": list(result.alphas),
        "n": len(result.recipient),
        "documents": len(np.unique(result.doc)),
        "layers": np.unique(result.at).tolist(),
        "conditions": {
            name: {outcome: _list(result.estimate(outcome, name, how)) for outcome in outcomes}
            for name in result.conditions
        },
        "excess": {name: _list(result.excess(name, how=how)) for name in controls},
    }


def to_frame(report: "PatchingReport"):
    """See `PatchingReport.to_frame`."""
    import pandas as pd

    columns = ["part", "condition", "outcome", "rank", "at", "value", "low", "high"]
    frame = pd.DataFrame(list(_rows(to_dict(report))), columns=columns)
    return frame.astype({"rank": "Int64", "at": float, "value": float, "low": float, "high": float})


def _rows(table: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for part, grid in (("patching", "offsets"), ("steering", "alphas")):
        for name, outcomes in table[part]["conditions"].items():
            for outcome, values in outcomes.items():
                if outcome == "n":
                    continue
                by_rank = values if outcome in ("advance", "stay") and part == "patching" else None
                ranks = enumerate(by_rank, 1) if by_rank is not None else [(None, values)]
                for rank, estimates in ranks:
                    for at, one in zip(table[part][grid], estimates, strict=True):
                        low, high = one["ci"] or (None, None)
                        yield part, name, outcome, rank, at, one["value"], low, high
