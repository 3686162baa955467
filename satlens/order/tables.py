"""An `OrderReport` as plain values: a dictionary ready for JSON, and one long table."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from satlens.resampling import Estimate, Intervals, finite

if TYPE_CHECKING:
    from satlens.order.excess import Excess
    from satlens.order.summary import OrderReport


def to_dict(report: "OrderReport") -> dict[str, Any]:
    """See `OrderReport.to_dict`."""
    return {
        "settings": dict(report.settings),
        "saturation": _saturation(report),
        "order": _order(report),
        "nulls": {kind: _null(report, kind) for kind in report.excess},
        "verdicts": _verdicts(report),
    }


def _numbers(values: Any) -> list[Any]:
    """Floats of any nesting, None where not finite."""
    return [_numbers(v) if isinstance(v, list) else finite(v) for v in np.asarray(values).tolist()]


def _saturation(report: "OrderReport") -> dict[str, Any]:
    events, curve = report.events, report.survival.curve
    ranks = [_rank(report, i) for i in range(events.k)]
    curves = [
        {
            "rank": i + 1,
            "fixed": _numbers(1 - curve.value[i]),
            "ci_low": _numbers(1 - curve.high[i]),
            "ci_high": _numbers(1 - curve.low[i]),
        }
        for i in range(events.k)
    ]
    histogram = [
        np.bincount(column, minlength=events.n_layers).tolist() for column in events.layer.T
    ]
    survival = {"layers": list(range(events.n_layers)), "curves": curves}
    return {"ranks": ranks, "survival": survival, "histogram": histogram}


def _rank(report: "OrderReport", i: int) -> dict[str, Any]:
    mean = report.coverage.mean_layer[i].to_dict()
    row = {
        "rank": i + 1,
        "mean_layer": mean["value"],
        "ci": mean["ci"],
        "coverage": report.coverage.covered[i].to_dict(),
        "censored": report.coverage.censored[i].to_dict(),
        "median_layer": finite(report.survival.median.value[i]),
    }
    if report.flips is not None:
        row["flips"] = report.flips.lost[i].to_dict()
        row["changes"] = finite(report.flips.changes.value[i])
    return row


def _order(report: "OrderReport") -> dict[str, Any]:
    c, paper = report.concordance, report.paper
    return {
        "strict_tau": {**report.strict_tau.to_dict(), "tokens": len(report.events)},
        "concordance": {
            **c.estimate.to_dict(),
            "tied": finite(c.tied.value),
            "comparable": finite(c.comparable.value),
            "p_documents": finite(c.by_documents.p),
            "p_permutation": finite(c.by_permutation.p),
            "pairs": _numbers(c.pairs),
        },
        "page": {"statistic": finite(report.page.statistic), "p": finite(report.page.p)},
        "paper": {
            "tau": finite(paper.tau),
            "ci": paper.interval.to_dict()["ci"],
            "p": finite(paper.p),
            "tokens_kept": paper.kept,
            "tokens": paper.tokens,
            "rank_to_place": _numbers(paper.place),
            "t_tests": [
                {"ranks": [i + 1, i + 2], "t": finite(t), "p": finite(p)}
                for i, (t, p) in enumerate(zip(paper.t, paper.t_p, strict=True))
            ],
            "note": paper.note,
        },
    }


def _null(report: "OrderReport", kind: str) -> dict[str, Any]:
    of = report.excess[kind]
    return {
        "draws": len(of["concordance"].draws),
        "concordance": _draws(of["concordance"]),
        "strict_tau": _draws(of["strict_tau"]),
        "comparable": finite(of["comparable"].draws.mean()),
        "tokens": of["concordance"].tokens,
        "excess": of["concordance"].estimate.to_dict(),
        "mean_layer": _numbers(report.null_mean_layer[kind]),
    }


def _draws(of: "Excess") -> dict[str, Any]:
    values = of.draws
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    mean = known.mean() if len(known) else np.nan
    return {
        "mean": finite(mean),
        "low": finite(low),
        "high": finite(high),
        "values": _numbers(values),
        "real": finite(of.real),
    }


def _verdicts(report: "OrderReport") -> list[dict[str, Any]]:
    if report.verdict is None:
        return []
    judged = report.verdict
    nothing = Estimate(np.nan, np.nan, np.nan)
    effect = nothing if judged.excess is None else judged.excess.estimate
    return [
        {
            "id": "order_beyond_convergence",
            "statement": judged.statement,
            "verdict": judged.verdict,
            "effect": {
                "name": "excess concordance over the stricter path null",
                **effect.to_dict(),
            },
            "p": finite(effect.p),
            "why": judged.why,
            "null": judged.excess.kind if judged.excess is not None else None,
        }
    ]


def to_frame(report: "OrderReport"):
    """See `OrderReport.to_frame`."""
    import pandas as pd

    columns = ["section", "name", "rank", "value", "low", "high", "p"]
    frame = pd.DataFrame(list(_rows(report)), columns=columns)
    return frame.astype({"rank": "Int64"})


def _rows(report: "OrderReport") -> Iterator[tuple[Any, ...]]:
    def row(section: str, name: str, of: Estimate, rank: int | None = None, p: float = np.nan):
        return (section, name, rank, of.value, of.low, of.high, p)

    c = report.concordance
    yield row("order", "concordance", c.estimate, p=c.by_documents.p)
    yield row("order", "tied share", c.tied)
    yield row("order", "comparable share", c.comparable)
    yield row("order", "strict tau", report.strict_tau)
    yield ("order", "Page's L", None, report.page.statistic, np.nan, np.nan, report.page.p)
    yield ("order", "paper tau", None, report.paper.tau, np.nan, np.nan, report.paper.p)
    ranks: dict[str, Intervals] = {
        "mean layer": report.coverage.mean_layer,
        "coverage": report.coverage.covered,
        "censored": report.coverage.censored,
        "median layer": report.survival.median,
    }
    if report.flips is not None:
        ranks |= {"flips": report.flips.lost, "changes": report.flips.changes}
    for name, intervals in ranks.items():
        for i in range(report.events.k):
            yield row("saturation", name, intervals[i], rank=i + 1)
    for kind, statistics in report.excess.items():
        for name, one in statistics.items():
            mean = float(np.mean(one.draws))
            yield (f"null {kind}", name, None, mean, np.nan, np.nan, np.nan)
            yield row(f"null {kind}", f"excess {name}", one.estimate)
