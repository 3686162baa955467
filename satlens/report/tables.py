"""Tables of an audit: the numbers as words, for the terminal, for Markdown and for the page.

A `Table` draws itself in any of the three ways. Everything is read from results (see
`schema.json`); nothing is computed. The bare numbers are in `satlens.report.frames`.
"""

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from satlens.report.detect_view import detect_table
from satlens.report.words import (
    KINDS,
    NULL_NAMES,
    count,
    drawn_nulls,
    estimate,
    known,
    number,
    p_value,
    part,
)

__all__ = [
    "Table",
    "coverage_table",
    "detect_table",
    "nulls_table",
    "order_table",
    "saturation_table",
    "summary",
    "tables_markdown",
    "verdicts_text",
]

WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A small table of words: a title, column heads, rows, and a note on how to read it.

    Example:
        >>> print(Table("Layers", ("rank", "layer"), (("1", "3.20"), ("2", "4.00")), "").text())
        Layers
          rank  layer
             1   3.20
             2   4.00
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    left: int = 0
    """Columns from the start that are words, set to the left; the others are numbers."""

    def text(self, width: int = WIDTH) -> str:
        """Aligned columns for the terminal; the note is wrapped, the columns are not."""
        widths = [
            max(len(row[i]) for row in (self.head, *self.rows)) for i in range(len(self.head))
        ]
        lines = [self.title]
        for row in (self.head, *self.rows):
            cells = [cell.ljust(w) if i < self.left else cell.rjust(w)
                     for i, (cell, w) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
            lines.append("  " + "  ".join(cells).rstrip())
        return "\n".join(
            lines + textwrap.wrap(self.note, width, initial_indent="  ", subsequent_indent="  ")
        )

    def markdown(self) -> str:
        """A Markdown table under its title."""
        marks = [":--" if i < self.left else "--:" for i in range(len(self.head))]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.head, *self.rows)]
        lines = ["| " + " | ".join(row) + " |" for row in (rows[0], marks, *rows[1:])]
        return (
            f"**{self.title}**\n\n" + "\n".join(lines) + (f"\n\n{self.note}" if self.note else "")
        )

    def html(self) -> str:
        """A table element; everything is escaped."""

        def row(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(
                f'<{tag}{" class=word" if i < self.left else ""}>{html.escape(cell)}</{tag}>'
                for i, cell in enumerate(cells)
            ) + "</tr>"  # fmt: skip

        body = "".join(row(cells, "td") for cells in self.rows)
        return (
            f"<table><caption>{html.escape(self.title)}</caption><thead>{row(self.head, 'th')}</thead>"
            f"<tbody>{body}</tbody></table>"
        )


def saturation_table(results: Mapping[str, Any]) -> Table:
    """Mean saturation layer and censoring per rank, the trained model beside the untrained one."""
    trained = part(results, "saturation", "trained", "ranks") or []
    fresh = {
        entry["rank"]: entry for entry in part(results, "saturation", "untrained", "ranks") or []
    }
    rows = []
    for entry in trained:
        row = [str(entry["rank"]), *_layer_cells(entry)]
        if fresh:
            row += _layer_cells(fresh.get(entry["rank"], {}))[::2]
        rows.append(tuple(row))
    head = ("rank", "mean layer", "median", "censored")
    head += ("untrained", "censored") if fresh else ()
    last = results["model"]["n_layers"] - 1
    return Table(
        "Saturation layer per rank", head, tuple(rows),
        f"Layers are 0 .. {last}, the state after block l. Censored: the share of tokens seen fixed "
        f"only at the output (layer {last}); the mean counts them as {last} and is a lower bound. "
        "Brackets are intervals over documents.",
        left=1,
    )  # fmt: skip


def coverage_table(results: Mapping[str, Any]) -> Table:
    """Coverage and flip rate per rank, trained and untrained."""
    rows = []
    for kind in KINDS:
        for entry in part(results, "saturation", kind, "ranks") or []:
            shares = [_estimate(entry.get(name)) for name in ("coverage", "censored", "flips")]
            rows.append((kind, str(entry["rank"]), *shares, number(entry.get("changes"))))
    return Table(
        "Coverage and flips",
        ("model", "rank", "coverage", "censored", "flips", "changes per token"), tuple(rows),
        "Coverage: share of tokens fixed before the last layer. Flips: share that held its final token "
        "at some layer, lost it, and was fixed later. Changes: how often the token at this rank differs "
        "from the layer before.",
        left=1,
    )  # fmt: skip


def order_table(results: Mapping[str, Any]) -> Table:
    """The order statistics of the trained model, and of the untrained one beside it."""
    kinds = [kind for kind in KINDS if part(results, "order", kind)]
    lines = (
        ("concordance, comparable pairs", lambda o: _estimate(o["concordance"], 3)),
        ("  tied share of them", lambda o: number(o["concordance"]["tied"])),
        ("  comparable share of all pairs", lambda o: number(o["concordance"]["comparable"])),
        ("  p over documents", lambda o: p_value(o["concordance"]["p_documents"])),
        ("  p, ranks permuted", lambda o: p_value(o["concordance"]["p_permutation"])),
        ("strict tau, all tokens", lambda o: _estimate(o["strict_tau"], 3)),
        ("Page's trend test, p", lambda o: p_value(part(o, "page", "p"))),
        ("strict tau as published", lambda o: number(part(o, "paper", "tau"), 3)),
        ("  its p", lambda o: p_value(part(o, "paper", "p"))),
        ("  tokens it keeps", lambda o: _kept(part(o, "paper"))),
    )
    rows = tuple((name, *(cell(results["order"][kind]) for kind in kinds)) for name, cell in lines)
    return Table("Order statistics", ("statistic", *kinds), rows,
                 "Concordance 0.5 is no order, 1 is every pair in order.", left=1)  # fmt: skip


def nulls_table(results: Mapping[str, Any]) -> Table:
    """The statistic beside every null, with the real model's excess over it."""
    real = part(results, "order", "trained")
    rows = []
    if real:
        rows.append(
            (
                "this model",
                "",
                _estimate(real["concordance"], 3),
                number(real["strict_tau"]["value"], 3),
                number(real["concordance"]["comparable"]),
                "",
            )
        )
    for name in drawn_nulls(results):
        null = results["nulls"][name]
        rows.append(
            (
                NULL_NAMES[name],
                str(null["draws"]),
                _draws(null["concordance"]),
                number(null["strict_tau"]["mean"], 3),
                number(null.get("comparable")),
                _estimate(null["excess"], 3, sign=True),
            )
        )
    note = ("Brackets: the interval over documents for this model and the excess, the middle 95 % of the "
            "draws for a null. Comparable: share of all pairs. Excess: this model's concordance minus the "
            "null's, on the null's tokens.")  # fmt: skip
    if not drawn_nulls(results):
        note = "No null was drawn in this run: the numbers have nothing to be held against."
    head = ("", "draws", "concordance", "strict tau", "comparable", "excess")
    return Table("The statistic beside its nulls", head, tuple(rows), note, left=1)


def verdicts_text(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The verdicts in words, for the terminal."""
    blocks = ["Verdicts"]
    for verdict in results["verdicts"]:
        lines = _wrap(f"{verdict['verdict'].upper()}: {verdict['statement']}", width, "  ")
        lines += _wrap(f"{effect_words(verdict)}. {verdict['why']}", width, "    ")
        blocks.append("\n".join(lines))
    if not results["verdicts"]:
        blocks.append("  No verdict could be given.")
    return "\n".join(blocks)


def effect_words(verdict: Mapping[str, Any]) -> str:
    """Effect, interval, null and p of one verdict, in a line."""
    effect = verdict["effect"]
    words = f"{effect['name']} {estimate(effect['value'], effect['ci'], 3)}"
    if verdict.get("null"):
        words += f", against {NULL_NAMES.get(verdict['null'], verdict['null'])}"
    return words + (f", p {p_value(verdict['p'])}" if known(verdict["p"]) else "")


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole audit for the terminal, at most ``width`` columns.

    Args:
        results: what results.json holds.
        width: columns of the terminal.
    """
    model, corpus = results["model"], results["corpus"]
    title = (f"{model['name']}: {count(model['n_layers'], 'layer')}, width {model['d_model']}, on "
             f"{corpus['name']}: {count(corpus['documents'], 'document')}, "
             f"{count(corpus['tokens'], 'token')}")  # fmt: skip
    parts = ["\n".join(_wrap(title, width, ""))]
    tables = (saturation_table(results), order_table(results), nulls_table(results))
    parts += [table.text(width) for table in tables if table.rows]
    parts.append(verdicts_text(results, width))
    if results["notes"]:
        parts.append(
            "\n".join(
                ["Notes", *(line for n in results["notes"] for line in _wrap(n, width, "  "))]
            )
        )
    return "\n\n".join(parts)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown, for a README, an issue or a paper's appendix."""
    tables = (
        saturation_table(results),
        order_table(results),
        nulls_table(results),
        coverage_table(results),
    )
    parts = [table.markdown() for table in tables if table.rows]
    lines = [
        f"* **{v['verdict']}**: {v['statement']} {effect_words(v)}. {v['why']}"
        for v in results["verdicts"]
    ]
    return "\n\n".join([*parts, "**Verdicts**", "\n".join(lines)]) + "\n"


def _estimate(entry: Any, digits: int = 2, sign: bool = False) -> str:
    return estimate(part(entry, "value"), part(entry, "ci"), digits, sign)


def _layer_cells(entry: Mapping[str, Any]) -> list[str]:
    """Mean layer with interval, median, censored share, as words."""
    median = entry.get("median_layer")
    return [
        estimate(entry.get("mean_layer"), entry.get("ci")),
        number(median, 0 if known(median) and median == int(median) else 1)
        if known(median)
        else "-",
        _estimate(entry.get("censored")),
    ]


def _draws(draws: Mapping[str, Any]) -> str:
    return estimate(draws["mean"], (draws["low"], draws["high"]), 3)


def _kept(paper: Any) -> str:
    return f"{paper['tokens_kept']:,} of {paper['tokens']:,}" if paper else "not available"


def _wrap(text: str, width: int, indent: str) -> list[str]:
    """Lines of at most ``width`` columns, the second and later ones a step further in."""
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + "  ")
