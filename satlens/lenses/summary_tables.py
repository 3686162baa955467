"""A `satlens.lenses.summary.ShortcutReport` as plain values for JSON.

A curve is one measure: ``{"by_layer": [estimate, ..], "by_run": {"early": estimate, .., "all": estimate}}``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from satlens.lenses.quality import ALL, Quality
from satlens.lenses.tolerance import BY, method_name

if TYPE_CHECKING:
    from satlens.lenses.summary import ShortcutReport

GAINS = ("shift", "shortcut", "low_rank", "low_rank_residual", "one_map", "tuned")
"""Lenses whose difference from the identity is given."""
Signs = Sequence[tuple[str, float]]


def to_dict(report: "ShortcutReport") -> dict[str, Any]:
    """As in results.json; every estimate is ``{"value", "ci"}``."""
    return {
        "split": {
            name: {"documents": part.n_documents, "tokens": part.n_tokens}
            for name, part in report.parts.items()
        },
        "layers": list(report.test.layers),
        "runs": {name: list(layers) for name, layers in report.runs.items()},
        "lenses": {
            name: {
                "parameters": _parameters(lens),
                "rank": getattr(lens, "settings", {}).get("rank"),
                "test": _curves(report.test, [(name, 1.0)], report.runs),
                "train": _curves(report.train, [(name, 1.0)], report.runs),
            }
            for name, lens in report.lenses.items()
        },
        "gains": {
            name: _curves(report.test, [(name, 1.0), ("identity", -1.0)], report.runs)
            for name in GAINS
            if name in report.lenses
        },
        "submodules": _submodules(report.submodules),
        "verdicts": [dict(one) for one in report.verdicts],
        "by_split": [[dict(one) for one in every] for every in report.by_split],
        "settings": dict(report.settings),
        "notes": list(report.notes),
    }


def _submodules(quality: Quality | None) -> dict[str, Any] | None:
    if quality is None:
        return None
    kinds = [name for name in quality.methods if ", " not in name]
    return {
        "layers": list(quality.layers),
        "documents": quality.documents,
        "tokens": quality.tokens,
        "kinds": {
            kind: {
                **{by: _curves(quality, [(method_name(kind, by), 1.0)], {}) for by in BY},
                "gain": _curves(quality, [(kind, 1.0), (method_name(kind, BY[1]), -1.0)], {}),
            }
            for kind in kinds
        },
    }


def _curves(
    quality: Quality, signs: Signs, runs: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, Any]]:
    """Every measure of a sum of methods; "all" is the mean over all layers."""
    every = {**runs, "all": quality.layers}
    curves = {}
    for measure in ALL:
        by_layer = quality.combined(signs, measure)
        curves[measure] = {
            "by_layer": [by_layer[i].to_dict() for i in range(len(quality.layers))],
            "by_run": {
                run: quality.combined(signs, measure, layers)[0].to_dict()
                for run, layers in every.items()
            },
        }
    return curves


def _parameters(lens: Any) -> int:
    """Numbers that a lens consists of, beside the model; 0 for the logit lens."""
    if hasattr(lens, "weight"):
        return lens.weight.numel() + lens.bias.numel()
    return getattr(lens, "parameters", 0)
