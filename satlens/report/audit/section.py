"""The part of the page on an audit: when each rank is fixed, and whether in order."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.audit import tables
from satlens.report.audit.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.nouns import Nouns
from satlens.report.words import NULL_MEANING, NULL_NAMES, count, drawn_nulls, known, number, part

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

NAME = "Order of the ranks"
QUESTION = (
    "Are the ranks fixed in order, the top first, and is that more than any path that converges would "
    "show?"
)
FILES = "the numbers in results.json, every token in events.parquet"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of audit.html, charts and heatmap apart."""
    note = part(results, "order", "trained", "paper", "note")
    nouns = Nouns.of(results["corpus"])
    made = (tables.saturation_table, tables.order_table, tables.nulls_table)
    return {
        "position": nouns.position, "Position": nouns.position.capitalize(),
        **{table.__name__: html.table(table(results).said(nouns), note=False) for table in made},
        "coverage_table": html.table(tables.coverage_table(results).said(nouns)),
        "null_list": html.meanings("What each null keeps", drawn_nulls(results), NULL_NAMES,
                                   nouns.deep(NULL_MEANING)),
        "paper_note": f'<p class="read"><b>The statistic as published.</b> {html.safe(nouns.said(note))}</p>'
                      if note else "",
    }  # fmt: skip


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The four numbers to leave with; each is read off, none is computed."""
    order = part(results, "order", "trained", "concordance") or {}
    over = [(null["excess"]["value"], name) for name in ("rotated", "exchanged")
            if (null := part(results, "nulls", name)) and known(null["excess"]["value"])]  # fmt: skip
    strict = part(results, "nulls", min(over)[1], "excess") if over else {}
    against = NULL_NAMES[min(over)[1]] if over else "a path null"
    fixed = part(results, "saturation", "trained", "ranks") or [{}]
    last, noun = results["model"]["n_layers"] - 1, Nouns.of(results["corpus"]).position
    return [
        (number(order.get("value"), 3), f"concordance {html.between(order, 3)}; 0.5 is no order"),
        (number(strict.get("value"), 3, sign=True),
         f"excess over {against} {html.between(strict, 3, sign=True)}"),
        (f"{number(fixed[0].get('mean_layer'), 1)} of {last}",
         f"mean saturation layer of rank 1 {html.between(fixed[0], 1)}"),
        (number(part(fixed[-1], "censored", "value")),
         f"of {noun}s at rank {len(fixed)} are fixed only at the output (censored)"),
    ]  # fmt: skip


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart."""
    corpus = results["corpus"]
    nouns = Nouns.of(corpus)
    words = f"{', '.join(nouns.counted(corpus['tokens'], corpus['documents']))}."
    drawn_for = {null["tokens"] for null in results["nulls"].values() if null.get("tokens")}
    if chart in ("concordance", "excess", "strict_tau") and drawn_for - {corpus["tokens"]}:
        words += f" Nulls drawn for {count(min(drawn_for), nouns.position)} of them."
    return words


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks or stages that the charts need."""
    return len(part(results, "saturation", "trained", "ranks") or [])
