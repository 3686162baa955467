"""Tables of a dynamics run: what is learned, the order of the ranks, that above path nulls, step by step.

Everything is read from results (see `dynamics/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import NOT_AVAILABLE, NULL_NAMES, number, part, visible

NAMES = 44
"""Characters of a checkpoint's name that a table shows."""


def course_table(results: Mapping[str, Any]) -> Table:
    """Loss, and the mean saturation layers of the first and the last rank, at every step."""
    first = results["checkpoints"][0]["ranks"]
    shown = (
        [first[0]["rank"], first[-1]["rank"]] if len(first) > 1 else [one["rank"] for one in first]
    )
    rows = [
        (step(one), cell(one["loss"]), *(cell(one["ranks"][rank - 1]["layer"]) for rank in shown))
        for one in results["checkpoints"]
    ]
    return Table(
        "Loss and saturation layers through training",
        ("step", "loss", *(f"layer of rank {rank}" for rank in shown)), tuple(rows),
        "Loss in nats a token. Layers run from 0 to "
        f"{results['model']['n_layers'] - 1}, which is the output: there a rank is seen fixed, and may have "
        f"been so for any time. Brackets are intervals over documents. {twin_note(results)}".rstrip(),
    )  # fmt: skip


def order_table(results: Mapping[str, Any]) -> Table:
    """The concordance of the ranks at every step, and how many pairs it is of."""
    rows = [
        (step(one), cell(one["concordance"], 3), cell(one["comparable"], 3),
         cell(part(one["ranks"][0], "censored") if one["ranks"] else None, 3))
        for one in results["checkpoints"]
    ]  # fmt: skip
    return Table(
        "Order of the ranks through training",
        ("step", "concordance", "comparable", "rank 1 at the output"), tuple(rows),
        "Concordance: of two ranks that can be compared, how often the higher one is fixed first. "
        "Comparable: their share of all pairs. "
        "Last column: tokens whose rank 1 is seen fixed only at the output.",
    )  # fmt: skip


def excess_table(results: Mapping[str, Any]) -> Table:
    """What the concordance has above each path null at every step, and the verdict."""
    nulls = shown_nulls(results)
    rows = [
        (step(one), *(cell(one["excess"].get(kind), 3, sign=True) for kind in nulls), one["verdict"])
        for one in results["checkpoints"]
    ]  # fmt: skip
    return Table(
        "Order above other ways into the same end",
        ("step", *(f"over {NULL_NAMES[kind]}" for kind in nulls), "in order"), tuple(rows),
        "Concordance minus that of the path, on the first documents. In order: whether the smaller one "
        f"lies above 0. {appears(results)}",
    )  # fmt: skip


def checkpoints_table(results: Mapping[str, Any]) -> Table:
    """Which weights each step is of."""
    rows = [
        (step(one), _short(one["name"]), (one["weights_sha256"] or NOT_AVAILABLE)[:12])
        for one in results["checkpoints"]
    ]
    return Table("Checkpoints", ("step", "checkpoint", "weights, sha256"), tuple(rows))


def dynamics_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of a dynamics run, in the order of reading."""
    return (
        course_table(results), order_table(results), excess_table(results), checkpoints_table(results),
    )  # fmt: skip


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole run for the terminal, at most ``width`` columns."""
    return terminal(results, dynamics_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, dynamics_tables(results))


def shown_nulls(results: Mapping[str, Any]) -> list[str]:
    """The nulls that these results hold at some step, in the order of the tables."""
    found = {kind for one in results["checkpoints"] for kind in one["excess"]}
    return [kind for kind in NULL_NAMES if kind in found]


def step(one: Mapping[str, Any]) -> str:
    """The step of a checkpoint; one that the run made is marked."""
    return f"{one['step']:,}{' *' if one['twin'] else ''}"


def twin_note(results: Mapping[str, Any]) -> str:
    """What the mark means, where there is one."""
    if not any(one["twin"] for one in results["checkpoints"]):
        return ""
    seed = number(results["settings"].get("seed"), 0)
    return (
        "* No checkpoint of step 0 was found: it is an untrained model of the same shape, made here with "
        f"seed {seed}, and not the one that this training began with."
    )


def appears(results: Mapping[str, Any]) -> str:
    """From which step on there is order, in a sentence."""
    found = results["appears"]
    if found is None:
        return "There is no step from which on every checkpoint is in order."
    return f"From step {found:,} on every checkpoint is in order."


def _short(name: str) -> str:
    name = visible(name)
    return name if len(name) <= NAMES else f"{name[: NAMES - 1]}…"
