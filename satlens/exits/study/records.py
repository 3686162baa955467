"""A report of exits as plain records: what results.json holds (keys: `satlens/report/exits/schema.json`)."""

from typing import TYPE_CHECKING, Any

import numpy as np

from satlens.exits.calibrate import Calibration
from satlens.exits.frontier import Comparison
from satlens.exits.result import NUMBERS, ORACLE, Evaluation
from satlens.exits.study.judging import LEVEL
from satlens.resampling import Intervals, bootstrap, finite

if TYPE_CHECKING:
    from satlens.exits.study.judging import Study
    from satlens.exits.study.report import ExitReport

FRONTIERS = ("agreement", "layers", "accuracy")


def to_dict(report: "ExitReport") -> dict[str, Any]:
    """See `satlens.exits.ExitReport.to_dict`."""
    how: dict[str, Any] = {"draws": report.settings["draws"], "seed": report.settings["seed"]}
    first = next(iter(report.studies.values())).evaluation
    tested = None if report.tested is None else set(report.tested.doc.tolist())
    choosing = [] if tested is None else [d for d in first.doc.tolist() if d not in tested]
    parts = {"calibration": choosing, "test": sorted(tested or ())}
    return {
        "split": {
            **{name: dict(part) for name, part in report.read.items()},
            **{name: _size(first, documents) for name, documents in parts.items()},
        },
        "cost": _cost(report),
        "studies": {name: _study(one, how) for name, one in report.studies.items()},
        "shift": _shift(report, how),
        "calibration": [_calibration(one, report.tested, how) for one in report.calibrations],
        "verdicts": [dict(one) for one in report.verdicts],
        "by_split": [[dict(one) for one in every] for every in report.by_split],
        "notes": list(report.notes),
        "settings": dict(report.settings),
    }


def _size(evaluation: Evaluation, documents: list[int]) -> dict[str, int]:
    rows = np.isin(evaluation.doc, documents)
    return {"documents": len(documents), "tokens": int(evaluation.tokens[rows].sum())}


def _cost(report: "ExitReport") -> dict[str, Any]:
    """Multiply-adds by layer; what a look costs depends on the lens."""
    costs = {name: one.evaluation.costs for name, one in report.studies.items()}
    first = next(iter(costs.values()))
    return {
        "per_token": first.per_token.tolist(), "per_pair": first.per_pair.tolist(),
        "kv": first.kv.tolist(), "look": {name: one.look.tolist() for name, one in costs.items()},
    }  # fmt: skip


def _study(study: "Study", how: dict[str, Any]) -> dict[str, Any]:
    evaluation = study.evaluation
    known = float(evaluation.known.sum())
    order = [i for name in evaluation.families for i in evaluation.points(name)]
    made = evaluation.estimates([*order, evaluation.names.index(ORACLE)], **how)
    points = [_point(evaluation, made, row, place) for row, place in enumerate(order)]
    return {
        "full": {
            name: finite(values[:, -1].sum() / known) if known else None
            for name, values in (
                ("accuracy", evaluation.layer_correct), ("loss", evaluation.layer_loss),
            )
        },
        "policies": list(evaluation.families),
        "points": points,
        "near": _near(points),
        "coin": _coin(study),
        "oracle": _numbers(made, len(order)),
        "frontiers": {name: _frontier(getattr(study, name)) for name in FRONTIERS},
    }  # fmt: skip


def _near(points: list[dict[str, Any]]) -> dict[str, int]:
    """The place of each policy's point whose agreement is nearest to the published level."""
    near: dict[str, int] = {}
    for place, one in enumerate(points):
        best = near.setdefault(one["policy"], place)
        if abs(one["agreement"]["value"] - LEVEL) < abs(points[best]["agreement"]["value"] - LEVEL):
            near[one["policy"]] = place
    return near


def _coin(study: "Study") -> dict[str, float | None]:
    """The point where every token leaves after the first block, without a look."""
    evaluation = study.evaluation
    tokens, known = float(evaluation.tokens.sum()), float(evaluation.known.sum())
    return {
        "agreement": float(evaluation.layer_agree[:, 0].sum()) / tokens,
        "accuracy": float(evaluation.layer_correct[:, 0].sum()) / known if known else None,
        "loss": float(evaluation.layer_loss[:, 0].sum()) / known if known else None,
        "compute_saved": float(study.agreement.at[-1]),
        "layers_saved": float(study.layers.at[-1]),
    }


def _point(evaluation: Evaluation, made: Intervals, row: int, place: int) -> dict[str, Any]:
    share = evaluation.exits[place].sum(0) / evaluation.tokens.sum()
    return {
        "policy": evaluation.names[place],
        "threshold": finite(evaluation.thresholds[place]),
        **_numbers(made, row),
        "exits": share.tolist(),
    }


def _numbers(made: Intervals, row: int) -> dict[str, Any]:
    return {name: made[row, column].to_dict() for column, name in enumerate(NUMBERS)}


def _frontier(made: Comparison) -> dict[str, Any]:
    """Heights at each saving, areas and savings, by policy."""
    return {
        "quality": made.quality,
        "saving": made.saving,
        "at": made.at.tolist(),
        "policies": {
            name: {
                "height": [made.height[i, column].to_dict() for column in range(len(made.at))],
                "area": made.area[i].to_dict(),
                "gain": made.gain[i].to_dict(),
                "lead": made.lead[i].to_dict(),
                "saved": [
                    {"agreement": level, **made.saved[i, column].to_dict()}
                    for column, level in enumerate(made.levels)
                ],
            }
            for i, name in enumerate(made.names)
        },
    }


def _shift(report: "ExitReport", how: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The points of the one policy that was read with the shifted lens."""
    if report.shift is None:
        return None
    order = report.shift.points(report.shift.families[0])
    made = report.shift.estimates(order, **how)
    return [_point(report.shift, made, row, place) for row, place in enumerate(order)]


def _calibration(
    one: Calibration, tested: Evaluation | None, how: dict[str, Any]
) -> dict[str, Any]:
    """The choice, and what became of it on documents that had no part in it."""
    tried = int(np.isfinite(one.p_values).sum())
    said = one.to_dict() | {"tested": tried, "p_first": finite(one.p_values[0])}
    for name in ("thresholds", "risks", "p_values"):
        del said[name]
    said["risk"] = said["saved"] = None
    if tested is not None and one.threshold is not None:
        points = tested.points(one.name)
        place = points[int(np.flatnonzero(tested.thresholds[points] == one.threshold)[0])]
        risk = 1 - tested.agree[place] / tested.tokens
        sums = np.stack([risk, np.ones_like(risk)], axis=1)
        said["risk"] = bootstrap(sums, lambda s: s[..., :1] / s[..., 1:], **how)[0].to_dict()
        said["saved"] = tested.estimates([place], **how)[
            0, NUMBERS.index("compute_saved")
        ].to_dict()
    return said
