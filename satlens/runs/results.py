"""The numbers of an audit as one dictionary: results.json (keys: `satlens/report/schema.json`)."""

import dataclasses
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from satlens.models import ResidualModel, weights_sha256
from satlens.order import OrderReport
from satlens.order.excess import judge
from satlens.resampling import finite
from satlens.runs.reading import Reading
from satlens.runs.settings import AuditSettings
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN
from satlens.version import __version__

ALPHA = 0.05


def assemble(
    model: ResidualModel,
    reading: Reading,
    settings: AuditSettings,
    report: OrderReport,
    baseline: OrderReport,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What results.json holds; ``baseline`` is the report of the first untrained model."""
    trained, fresh = report.to_dict(), baseline.to_dict()
    notes = list(reading.notes)
    if len(reading.null_documents) < reading.batches.n_documents:
        notes.append(
            f"The nulls made from states are drawn for the first {len(reading.null_documents):,} "
            "documents; an excess compares them with the same tokens of the model."
        )
    return {
        "schema": "satlens.audit/1",
        "model": describe(model),
        "corpus": {
            "name": reading.corpus.name,
            "documents": reading.batches.n_documents,
            "tokens": len(report.events),
            "split_documents": reading.split,
            "windows": len(reading.batches.rows),
            "sha256": reading.corpus.sha256,
        },
        "settings": dataclasses.asdict(settings),
        "versions": {
            "satlens": __version__,
            "transformer_lens": version("transformer-lens"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "saturation": {"trained": trained["saturation"], "untrained": fresh["saturation"]},
        "order": {"trained": trained["order"], "untrained": fresh["order"]},
        "nulls": trained["nulls"],
        "verdicts": verdicts(report, trained),
        "notes": notes,
    }


def describe(model: ResidualModel) -> dict[str, Any]:
    """The model, well enough to tell it from another of the same name."""
    parameters = list(model.host.parameters())
    return {
        "name": model.name,
        "kind": type(model.host).__name__,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "n_outputs": model.n_outputs,
        "parameters": sum(p.numel() for p in parameters),
        "dtype": str(parameters[0].dtype).removeprefix("torch."),
        "weights_sha256": weights_sha256(model),
    }


def verdicts(report: OrderReport, trained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdict on the order first, then the published one, the trend, and the untrained models."""
    main = trained["verdicts"]
    order_holds = bool(main) and main[0]["verdict"] == HOLDS
    return [*main, _as_published(report, order_holds), _trend(report), _beyond_untrained(report)]


def _as_published(report: OrderReport, order_holds: bool) -> dict[str, Any]:
    paper = report.paper
    passes = paper.p < ALPHA
    if not paper.kept:
        verdict, why = UNKNOWN, "No token is left after the published filter and cut."
    elif not passes:
        verdict, why = FAILS, "The published test does not reject."
    elif order_holds:
        verdict, why = HOLDS, "The published test rejects, and so does the sound one."
    else:
        verdict = AS_PUBLISHED
        why = "The published test rejects, but it also rejects on layers that know nothing of rank."
    return {
        "id": "order_as_published",
        "statement": "Saturation layers follow rank by the published test (filtered strict tau).",
        "verdict": verdict,
        "effect": {"name": "strict tau, filtered and cut", "value": finite(paper.tau), "ci": None},
        "p": finite(paper.p),
        "why": why,
        "null": "permuted",
    }


def _trend(report: OrderReport) -> dict[str, Any]:
    spread = report.excess["permuted"]["spread"].estimate
    p = report.page.p
    verdict = UNKNOWN if finite(p) is None else HOLDS if p < ALPHA else FAILS
    return {
        "id": "mean_layer_rises",
        "statement": "The mean saturation layer rises with rank.",
        "verdict": verdict,
        "effect": {"name": "mean layer of the last rank minus rank 1", **spread.to_dict()},
        "p": finite(p),
        "why": "Page's trend test with documents as units. By itself this shows no working order: "
        "closer scores change places for longer.",
        "null": "permuted",
    }


def _beyond_untrained(report: OrderReport) -> dict[str, Any]:
    excess = report.excess["untrained"]["concordance"]
    judged = judge(excess, report.settings["margin"])
    return {
        "id": "more_than_untrained",
        "statement": "The trained model fixes its ranks more in order than untrained ones.",
        "verdict": judged.verdict,
        "effect": {"name": "concordance above the untrained models'", **excess.estimate.to_dict()},
        "p": None,
        "why": judged.why,
        "null": "untrained",
    }
