"""Several audits side by side: when each rank is fixed, and whether in order, model by model.

Two rows an audit: the model, and its untrained twin as the audit's baseline. Everything is read from the
results (see `audit/schema.json`); nothing is computed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.report.table import Table, cell
from satlens.report.validate import read_results
from satlens.report.words import KINDS, NULL_NAMES, estimate, number, part

PATHS = ("rotated", "exchanged")
"""The nulls that keep a token's end and its distances to it."""


def read_audits(runs: Sequence[str | Path]) -> list[dict[str, Any]]:
    """The results of audits, in the order given.

    Args:
        runs: folders that `satlens audit` wrote, or their results.json.

    Raises:
        InputError: none given, a folder without an audit, or results of another verb.
    """
    if not runs:
        raise InputError("Nothing to compare: give the folders of one audit or more.")
    found = []
    for run in map(Path, runs):
        path = run / "results.json" if run.is_dir() else run
        if not path.is_file():
            raise InputError(f"{run} holds no audit: there is no {path}. Run satlens audit first.")
        results = read_results(path)
        if results["schema"] != "satlens.audit/1":
            raise InputError(f"{path} is of the form {results['schema']}, not of an audit.")
        found.append(results)
    return found


def tables(audits: Sequence[Mapping[str, Any]]) -> tuple[Table, Table, Table]:
    """Mean saturation layers, censored shares, and order, one row a model and twin."""
    ranks = max(len(audit["saturation"]["trained"]["ranks"]) for audit in audits)
    names = tuple(f"rank {i + 1}" for i in range(ranks))
    layers, censored, order = [], [], []
    for audit in audits:
        for kind in KINDS:
            entries = part(audit, "saturation", kind, "ranks")
            if not entries:
                continue
            who = (audit["model"]["name"], kind)
            empty = [""] * (ranks - len(entries))
            mean = [estimate(entry["mean_layer"], entry["ci"]) for entry in entries]
            layers.append((*who, f"0 .. {audit['model']['n_layers'] - 1}", *mean, *empty))
            censored.append((*who, *[cell(entry["censored"]) for entry in entries], *empty))
            order.append((*who, *_order(audit, kind)))
    return (
        Table("Mean saturation layer", ("model", "weights", "layers", *names), tuple(layers),
              "The state after block l is layer l; a rank seen fixed only at the output counts as the last "
              "layer, so means are lower bounds. Brackets are intervals over documents.", left=3),
        Table("Censored", ("model", "weights", *names), tuple(censored),
              "The share seen fixed only at the output.", left=2),
        Table("Order", ("model", "weights", "items", "tokens", "tau as published", "concordance",
                        "comparable", *(f"excess, {NULL_NAMES[name]}" for name in PATHS)), tuple(order),
              "Items are what intervals are drawn over: documents, images, recordings. Concordance 0.5 is no "
              "order. Excess: over the concordance of paths that keep each token's end and its distances to "
              "it, and nothing else; 0 is what converging gives by itself.", left=2),
    )  # fmt: skip


def _order(audit: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The cells of one row of the table of order."""
    of, corpus = part(audit, "order", kind) or {}, audit["corpus"]
    paper = part(of, "paper") or {}
    nulls = [part(audit, "nulls", name, "excess") if kind == "trained" else None for name in PATHS]
    return (
        f"{corpus['documents']:,}",
        f"{corpus['tokens']:,}",
        estimate(paper.get("tau"), paper.get("ci")),
        cell(part(of, "concordance"), 3),
        number(part(of, "concordance", "comparable")),
        *(cell(null, 3, sign=True) if null else "not drawn" for null in nulls),
    )


def comparison(runs: Sequence[str | Path], markdown: bool = False) -> str:
    """The tables of `tables` for the terminal, or in Markdown.

    Raises:
        InputError: as `read_audits`.
    """
    made = tables(read_audits(runs))
    return "\n\n".join(table.markdown() if markdown else table.text() for table in made)
