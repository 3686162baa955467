"""The table of claims: effects first, then p-values corrected for how many there are, then verdicts.

Everything is read from results (see `claims/schema.json`); nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

from satlens.report.table import WIDTH, Table, cell, notes_text, title
from satlens.report.words import known, p_value
from satlens.verdicts import AS_PUBLISHED, HOLDS

NOTE = (
    "Effect: above what the claim is held against, with its interval. p: of the sound test, one-sided, "
    "corrected for all claims of the table (Holm). Paper's test: what the published protocol says."
)


def claims_table(results: Mapping[str, Any]) -> Table:
    """A row a claim, by its name."""
    rows = [
        (one["id"], one["verdict"], cell(one["effect"], 3, sign=True), _p(one), published(one))
        for one in results["claims"]
    ]
    head = ("claim", "verdict", "effect", "p", "paper's test")
    return Table("Claims of the papers", head, tuple(rows), NOTE, left=2)


def words_table(results: Mapping[str, Any]) -> Table:
    """The same in whole sentences."""
    rows = [
        (f"{one['statement']} ({one['paper']})", one["effect"]["name"] or "-",
         cell(one["effect"], 3, sign=True), _p(one), published(one), one["verdict"])
        for one in results["claims"]
    ]  # fmt: skip
    head = ("claim", "effect", "", "p", "paper's test", "verdict")
    return Table("Claims of the papers", head, tuple(rows), NOTE, left=2)


def why_table(results: Mapping[str, Any]) -> Table:
    """Why each verdict is what it is, and where its evidence is."""
    rows = [(one["id"], one["study"], one["why"]) for one in results["claims"]]
    return Table("Why", ("claim", "judged from", "reason"), tuple(rows), left=3)


def published(one: Mapping[str, Any]) -> str:
    """What the paper's own test says, in a word."""
    found = one["published"]
    if found is None:
        return "not run"
    return HOLDS if found["verdict"] == AS_PUBLISHED else found["verdict"]


def counted(results: Mapping[str, Any]) -> dict[str, int]:
    """How many claims have each verdict."""
    found: dict[str, int] = {}
    for one in results["claims"]:
        found[one["verdict"]] = found.get(one["verdict"], 0) + 1
    return found


def summary(results: Mapping[str, Any], width: int = WIDTH) -> str:
    """The whole run for the terminal."""
    parts = [title(results), claims_table(results).text(width), notes_text(results, width)]
    return "\n\n".join(part for part in parts if part)


def tables_markdown(results: Mapping[str, Any]) -> str:
    """For a README, an issue or a paper's appendix: the claims in sentences, and why."""
    return f"{words_table(results).markdown()}\n\n{why_table(results).markdown()}\n"


def _p(one: Mapping[str, Any]) -> str:
    return p_value(one["p_corrected"]) if known(one["p_corrected"]) else "-"
