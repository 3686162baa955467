"""Tables of a route run: loss and saving by lambda, who runs which block, skipping beside saturation.

Everything is read from results (see `route/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell, markdown, terminal
from satlens.report.words import NULL_NAMES, number, part

WAYS = {"soft": "scaled (soft)", "hard": "skipped (hard)", "random": "as many at random"}
"""Ways to run gated blocks, with the words for each."""


def losses_table(results: Mapping[str, Any]) -> Table:
    """A row a lambda and seed: what is saved, and the loss every way."""
    rows = [
        (f"{one['penalty']:g}", str(one["seed"]), cell(one["hard"]["saved"], 3),
         *(number(one[way]["loss"]["value"], 3) for way in ("open", "soft", "hard", "random")),
         number(one["early_exit"]["loss"]["value"], 3))
        for one in results["runs"]
    ]  # fmt: skip
    first = results["runs"][0]
    return Table(
        "Loss on held-out documents, in nats a token",
        ("lambda", "seed", "saved", "open", "soft", "hard", "random", "early exit"), tuple(rows),
        f"{first['tokens']:,} tokens of {first['documents']:,} documents; the model is frozen, "
        f"{first['parameters']:,} numbers of gates were trained on the others. Saved: share of "
        "layer operations with hard gates. Open: no gates; soft: additions scaled, which saves "
        "nothing; hard: skipped; random: as many skipped in each block, drawn; early exit: of the "
        "same model at as many blocks. Verdicts: on the first row.",
    )  # fmt: skip


def differences_table(results: Mapping[str, Any]) -> Table:
    """Paired differences of the losses, by lambda and seed."""
    rows = [
        (f"{one['penalty']:g}", str(one["seed"]), cell(one["excess_loss"]["hard - open"], 3, sign=True),
         cell(one["over_random"], 3, sign=True),
         cell(one["over_exit"], 3, sign=True))
        for one in results["runs"]
    ]  # fmt: skip
    return Table(
        "What it costs, and what it is better than",
        ("lambda", "seed", "hard - open", "random - hard", "early exit - hard"), tuple(rows),
        "Differences of the loss on the same documents, with intervals over them.",
    )  # fmt: skip


def classes_table(results: Mapping[str, Any]) -> Table:
    """Which kinds of token run how many blocks, with hard gates; of the first run."""
    found = results["runs"][0]["classes"].get("hard", {})
    rows = [(name, f"{one['tokens']:,}", number(one["runs"][0], 3)) for name, one in found.items()]
    return Table(
        "Who runs", ("kind of token", "tokens", "share of blocks run"), tuple(rows),
        "Of blocks 1 to L-1, with hard gates. Block 0 always runs. The token that a model puts in front "
        "of a text is computed too and counts here, as other.", left=1,
    )  # fmt: skip


def saturation_table(results: Mapping[str, Any]) -> Table:
    """How skipping goes with saturation, plainly, given confounders, and beyond the path nulls."""
    found = results["saturation"]
    rows = [("rank correlation", "", cell(found["correlation"], 3, sign=True)),
            ("given frequency, loss and position", "", cell(found["partial"], 3, sign=True))]  # fmt: skip
    rows += [
        (f"above the {NULL_NAMES[kind]}", number(found["null"][kind], 3, sign=True),
         cell(found["excess"][kind], 3, sign=True))
        for kind in shown_nulls(results)
    ]  # fmt: skip
    rows.append(
        ("skips more once fixed, mean over blocks", "", cell(found["difference"], 3, sign=True))
    )
    return Table(
        "Skipping beside saturation", ("", "null", "model"), tuple(rows),
        f"{found['tokens']:,} tokens. How much a token is told to skip, against how many blocks "
        "come after its rank 1 is fixed (with every token in every block). Null: the partial "
        "correlation of other ways into the same end. Last row: share that skips a block among "
        "tokens fixed before it, minus that of the others.",
        left=1,
    )  # fmt: skip


def runs_table(results: Mapping[str, Any]) -> Table:
    """The correlation of skipping and saturation of every lambda and seed."""
    nulls = shown_nulls(results)
    rows = [
        (f"{one['penalty']:g}", str(one["seed"]), cell(one["skipping"]["partial"], 3, sign=True),
         *(cell(one["skipping"]["excess"].get(kind), 3, sign=True) for kind in nulls))
        for one in results["runs"]
    ]  # fmt: skip
    return Table(
        "Skipping beside saturation, every run",
        ("lambda", "seed", "partial", *(f"above {NULL_NAMES[kind]}" for kind in nulls)), tuple(rows),
        "Partial: the rank correlation given frequency, loss and position.",
    )  # fmt: skip


def blocks_table(results: Mapping[str, Any]) -> Table:
    """Block by block: who is fixed before it, and who skips it."""
    rows = [
        (
            str(one["block"]),
            *(number(one[key], 3) for key in ("fixed", "skip", "skip_fixed", "skip_other")),
        )
        for one in results["saturation"]["by_block"]
    ]
    return Table(
        "Block by block", ("block", "fixed before", "skip it", "of the fixed", "of the others"), tuple(rows),
        "Shares of the tokens, with hard gates.",
    )  # fmt: skip


def route_tables(results: Mapping[str, Any]) -> tuple[Table, ...]:
    """Every table of a route run, in the order of reading."""
    return (
        losses_table(results), differences_table(results), classes_table(results),
        saturation_table(results), runs_table(results), blocks_table(results),
    )  # fmt: skip


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole run for the terminal, at most ``width`` columns."""
    return terminal(results, route_tables(results), width)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """The same tables in Markdown."""
    return markdown(results, route_tables(results))


def shown_nulls(results: Mapping[str, Any]) -> list[str]:
    """The nulls that these results hold, in the order of the tables."""
    found = part(results, "saturation", "excess") or {}
    return [kind for kind in NULL_NAMES if kind in found]
