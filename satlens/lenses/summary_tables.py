"""A `satlens.lenses.summary.ShortcutReport` as plain values for JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from satlens.lenses.agreement import MEASURES
from satlens.lenses.quality import ALL, Quality
from satlens.lenses.tolerance import BY, method_name
from satlens.resampling import Intervals

if TYPE_CHECKING:
    from satlens.lenses.summary import ShortcutReport

GAINS = ("shift", "shortcut", "low_rank", "low_rank_residual", "one_map", "tuned")
"""Lenses whose difference from the identity is given."""


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
                "rank": _rank(lens),
                "test": _by_measure(report.test, name, ALL),
                "train": _by_measure(report.train, name, ALL),
            }
            for name, lens in report.lenses.items()
        },
        "gains": {name: _gains(report, name) for name in GAINS if name in report.lenses},
        "submodules": _submodules(report.submodules),
        "verdicts": [dict(one) for one in report.verdicts],
        "settings": dict(report.settings),
        "notes": list(report.notes),
    }


def _by_measure(quality: Quality, method: str, measures: Sequence[str]) -> dict[str, Any]:
    return {one: _each(quality.estimate(method, one)) for one in measures}


def _gains(report: "ShortcutReport", name: str) -> dict[str, Any]:
    """What one lens gives over the identity, by layer and by run of layers."""
    quality = report.test
    return {
        one: {
            "by_layer": _each(quality.difference(name, "identity", one)),
            "by_run": {
                run: quality.difference(name, "identity", one, layers)[0].to_dict()
                for run, layers in report.runs.items()
            },
        }
        for one in ALL
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
            kind: {by: _by_measure(quality, method_name(kind, by), MEASURES) for by in BY}
            for kind in kinds
        },
    }


def _each(found: Intervals) -> list[dict[str, Any]]:
    return [found[i].to_dict() for i in range(len(found.value))]


def _parameters(lens: Any) -> int:
    """Numbers that a lens consists of, beside the model; 0 for the logit lens."""
    if hasattr(lens, "weight"):
        return lens.weight.numel() + lens.bias.numel()
    return getattr(lens, "parameters", 0)


def _rank(lens: Any) -> int | None:
    """The rank that was asked for, where a lens is made of maps of low rank."""
    return getattr(lens, "settings", {}).get("rank")
