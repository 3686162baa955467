"""A survey in the terminal: what was read, when each rank is fixed, the order beside its nulls, the verdict.

Everything is read from what `satlens.survey.SurveyStatistics.to_dict` gives; nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell
from satlens.report.words import NULL_NAMES, count, number, p_value


def saturation_table(statistics: Mapping[str, Any]) -> Table:
    """Mean saturation layer and censoring per rank."""
    last = statistics["n_layers"] - 1
    rows = tuple(
        (str(rank["rank"]), cell(rank["mean_layer"]), cell(rank["censored"]))
        for rank in statistics["ranks"]
    )
    return Table(
        "Saturation layer per rank", ("rank", "mean layer", "censored"), rows,
        f"Layers are 0 .. {last}. Censored: seen fixed only at the output; the mean counts them as {last}. "
        "Brackets are intervals over documents (Poisson bootstrap).",
        left=1,
    )  # fmt: skip


def order_table(statistics: Mapping[str, Any]) -> Table:
    """The statistics of order, and the excess of the concordance over each path null."""
    order = statistics["order"]
    if order is None:
        return Table("Are the ranks fixed in order?", ("", "value"), ())
    paper = order["paper_tau"]
    rows = [
        ("concordance", cell(order["concordance"], 3), ""),
        ("comparable share", cell(order["comparable"], 3), ""),
        ("strict tau", cell(order["strict_tau"], 3), ""),
        (f"paper tau, p {p_value(paper['p'])}", cell(paper, 3), count(paper["kept"], "token")),
    ]
    for kind, null in statistics["nulls"].items():
        tokens = f"{count(null['tokens'], 'token')}, {number(null['null'], 3)}"
        rows.append((f"excess over {NULL_NAMES[kind]}", cell(null["excess"], 3, sign=True), tokens))
    note = "Right: the tokens that a number is of, and the concordance of the null."
    if not statistics["nulls"]:
        note = "No null was drawn in this survey: the numbers have nothing to be held against."
    return Table("Are the ranks fixed in order?", ("", "value", "of"), tuple(rows), note, left=1)


def survey_summary(
    statistics: Mapping[str, Any], manifest: Mapping[str, Any], skipped: int, width: int = WIDTH
) -> str:
    """The whole survey for the terminal.

    Args:
        statistics, manifest: of the survey.
        skipped: documents that could not be read.
        width: columns of the terminal.
    """
    read = f"{count(statistics['documents'], 'document')}, {count(statistics['tokens'], 'token')}"
    head = f"{manifest['model']['name']} on {manifest['corpus']['name']}: {read}"
    if skipped:
        head += f"; {count(skipped, 'document')} could not be read"
    tables = [saturation_table(statistics), order_table(statistics)]
    parts = [head, *(table.text(width) for table in tables if table.rows)]
    verdict = statistics["verdict"]
    if verdict is not None:
        parts.append(f"{verdict['verdict'].upper()}: {verdict['statement']}\n  {verdict['why']}")
    return "\n\n".join(parts)
