"""A table of words that draws itself, and what every verb says in the terminal and in Markdown.

Everything is read from results (see `VERB/schema.json`); nothing is computed.
"""

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from satlens.report.nouns import Nouns
from satlens.report.words import count, estimate, known, null_name, p_value, part

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

    def said(self, nouns: Nouns) -> "Table":
        """The same with the words for what was read; numbers have none."""
        return replace(
            self, title=nouns.said(self.title), head=tuple(map(nouns.said, self.head)),
            rows=tuple(tuple(map(nouns.said, row)) for row in self.rows), note=nouns.said(self.note),
        )  # fmt: skip

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


def terminal(results: Mapping[str, Any], tables: Sequence[Table], width: int = WIDTH) -> str:
    """A run for the terminal: what was read, the tables that have rows, the verdicts, the notes."""
    parts = ["\n".join(_wrap(title(results), width, ""))]
    parts += [table.text(width) for table in tables if table.rows]
    parts += [verdicts_text(results, width), notes_text(results, width)]
    return "\n\n".join(part for part in parts if part)


def markdown(results: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """Tables and verdicts in Markdown, for a README, an issue or a paper's appendix."""
    lines = [
        f"* **{v['verdict']}**: {v['statement']} {effect_words(v)}. {v['why']}"
        for v in results["verdicts"]
    ]
    parts = [table.markdown() for table in tables if table.rows]
    return "\n\n".join([*parts, "**Verdicts**", "\n".join(lines)]) + "\n"


def title(results: Mapping[str, Any]) -> str:
    """The model and what it read, in a line."""
    model, corpus = results["model"], results["corpus"]
    sizes = Nouns.of(corpus).counted(corpus["tokens"], corpus["documents"])
    return (f"{model['name']}: {count(model['n_layers'], 'layer')}, width {model['d_model']}, on "
            f"{corpus['name']}: {', '.join(sizes[::-1])}")  # fmt: skip


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


def notes_text(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The notes, for the terminal; empty where there are none."""
    notes = [line for note in results["notes"] for line in _wrap(note, width, "  ")]
    return "\n".join(["Notes", *notes]) if notes else ""


def effect_words(verdict: Mapping[str, Any]) -> str:
    """Effect, interval, null and p of one verdict, in a line."""
    effect = verdict["effect"]
    words = f"{effect['name']} {estimate(effect['value'], effect['ci'], 3)}"
    if verdict.get("null"):
        words += f", against {null_name(verdict)}"
    return words + (f", p {p_value(verdict['p'])}" if known(verdict["p"]) else "")


def cell(entry: Any, digits: int = 2, sign: bool = False) -> str:
    """An estimate as words: the number with its interval."""
    return estimate(part(entry, "value"), part(entry, "ci"), digits, sign)


def _wrap(text: str, width: int, indent: str) -> list[str]:
    """Lines of at most ``width`` columns, the second and later ones a step further in."""
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + "  ")
