"""Tables of an audit, and the audit whole in the terminal and in Markdown.

Everything is read from results (see `audit/schema.json`); nothing is computed. The bare numbers are in
`satlens.report.audit.frames`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from satlens.report.nouns import Nouns
from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import (
    KINDS,
    NULL_NAMES,
    drawn_nulls,
    estimate,
    known,
    number,
    p_value,
    part,
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
            shares = [cell(entry.get(name)) for name in ("coverage", "censored", "flips")]
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
        ("concordance, comparable pairs", lambda o: cell(o["concordance"], 3)),
        ("  tied share of them", lambda o: number(o["concordance"]["tied"])),
        ("  comparable share of all pairs", lambda o: number(o["concordance"]["comparable"])),
        ("  p over documents", lambda o: p_value(o["concordance"]["p_documents"])),
        ("  p, ranks permuted", lambda o: p_value(o["concordance"]["p_permutation"])),
        ("strict tau, all tokens", lambda o: cell(o["strict_tau"], 3)),
        ("Page's trend test, p", lambda o: p_value(part(o, "page", "p"))),
        ("strict tau as published", lambda o: _paper(part(o, "paper"))),
        ("  its p", lambda o: p_value(part(o, "paper", "p"))),
        ("  tokens it keeps", lambda o: _kept(part(o, "paper"))),
    )
    rows = tuple(
        (name, *(words(results["order"][kind]) for kind in kinds)) for name, words in lines
    )
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
                cell(real["concordance"], 3),
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
                cell(null["excess"], 3, sign=True),
            )
        )
    note = ("Brackets: the interval over documents for this model and the excess, the middle 95 % of the "
            "draws for a null. Comparable: share of all pairs. Excess: this model's concordance minus the "
            "null's, on the null's tokens.")  # fmt: skip
    if not drawn_nulls(results):
        note = "No null was drawn in this run: the numbers have nothing to be held against."
    head = ("", "draws", "concordance", "strict tau", "comparable", "excess")
    return Table("The statistic beside its nulls", head, tuple(rows), note, left=1)


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole audit for the terminal, at most ``width`` columns.

    Args:
        results: what results.json holds.
        width: columns of the terminal.
    """
    tables = _said(results, saturation_table, order_table, nulls_table)
    return terminal(results, tables, width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown, for a README, an issue or a paper's appendix."""
    made = (saturation_table, order_table, nulls_table, coverage_table)
    return markdown(results, _said(results, *made))


def _said(
    results: Mapping[str, Any], *tables: Callable[[Mapping[str, Any]], Table]
) -> tuple[Table, ...]:
    """The tables with the words for what was read."""
    nouns = Nouns.of(results["corpus"])
    return tuple(table(results).said(nouns) for table in tables)


def _layer_cells(entry: Mapping[str, Any]) -> list[str]:
    """Mean layer with interval, median, censored share, as words."""
    median = entry.get("median_layer")
    return [
        estimate(entry.get("mean_layer"), entry.get("ci")),
        number(median, 0 if known(median) and median == int(median) else 1)
        if known(median)
        else "-",
        cell(entry.get("censored")),
    ]


def _draws(draws: Mapping[str, Any]) -> str:
    return estimate(draws["mean"], (draws["low"], draws["high"]), 3)


def _paper(paper: Any) -> str:
    return estimate(part(paper or {}, "tau"), part(paper or {}, "ci"), 3)


def _kept(paper: Any) -> str:
    return f"{paper['tokens_kept']:,} of {paper['tokens']:,}" if paper else "not available"
