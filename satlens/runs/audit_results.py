"""What an audit found, as results.json holds it (keys: `satlens/report/audit/schema.json`)."""

from collections.abc import Mapping, Set
from typing import Any

from satlens.order import OrderReport
from satlens.order.excess import judge
from satlens.resampling import finite
from satlens.runs.reading import Reading
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN

ALPHA = 0.05


def found(
    reading: Reading,
    null_documents: Set[int],
    report: OrderReport,
    baseline: OrderReport,
    exchanged: bool = True,
) -> dict[str, Any]:
    """The keys of an audit alone.

    Args:
        baseline: the report of the first untrained model.
        exchanged: whether that null could be drawn.
    """
    trained, fresh = report.to_dict(), baseline.to_dict()
    notes = []
    if len(null_documents) < reading.batches.n_documents:
        notes.append(
            f"The nulls made from states are drawn for the first {len(null_documents):,} "
            f"{reading.document}s; an excess compares them with the same {reading.position}s of the model."
        )
    if not exchanged:
        notes.append(
            "The null of exchanged paths is not available, and so there is no verdict on the order: a path "
            f"is taken of another {reading.document} with another answer, and some {reading.position}s have "
            "none."
        )
    return {
        "saturation": {"trained": trained["saturation"], "untrained": fresh["saturation"]},
        "order": {"trained": trained["order"], "untrained": fresh["order"]},
        "nulls": trained["nulls"],
        "verdicts": verdicts(report, trained),
        "notes": notes,
    }


def verdicts(report: OrderReport, trained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdict on the order first, then the published one, the trend, and the untrained models."""
    main = trained["verdicts"]
    order_holds = bool(main) and main[0]["verdict"] == HOLDS
    return [*main, as_published(report, order_holds), _trend(report), _beyond_untrained(report)]


def as_published(report: OrderReport, order_holds: bool) -> dict[str, Any]:
    """The published test of the order, by its own rule."""
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
        "p": finite(excess.estimate.p),
        "why": judged.why,
        "null": "untrained",
    }
