"""Claims side by side: effects first, then p-values, corrected for how many there are.

Holm's correction runs over the sound tests of the table that have a p-value (one-sided). A claim that holds
by its own interval, and whose corrected p-value is not below 0.025, cannot be told here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satlens.claims.claim import Judged
from satlens.errors import InputError
from satlens.files import write_whole
from satlens.report.words import null_name
from satlens.significance import holm
from satlens.verdicts import HOLDS, UNKNOWN
from satlens.version import __version__

FORM = "satlens.claim_table/1"
ALPHA = 0.025
"""Of the whole table, one-sided: an interval of 95 % leaves as much below it."""


@dataclass(frozen=True)
class Row:
    """One claim on one model.

    Attributes:
        verdict: after the correction. alone: before it.
        effect: its name. value, low, high: the effect and its interval; None where not known.
        p, p_holm: of the sound test, as it is and corrected for the table.
        null: what the effect is held against, in words. why: of the verdict.
        published: verdict, effect and p of the paper's own protocol; None where it was not run.
    """

    id: str
    verdict: str
    statement: str
    effect: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    null: str | None
    why: str
    published: Mapping[str, Any] | None
    paper: str
    section: str
    study: str
    alone: str


@dataclass(frozen=True)
class ClaimTable:
    """Every claim that was asked of one model.

    Attributes:
        rows: in the order of `satlens.claims.CLAIMS`.
        settings: what was asked: model, corpus and the rest.
    """

    rows: tuple[Row, ...]
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: the claims, as results.json of ``satlens claims`` holds them."""
        said = [_said(row) for row in self.rows]
        names = ("id", "statement", "verdict", "effect", "why", "null")
        verdicts = [
            {**{name: one[name] for name in names}, "p": one["p_corrected"]} for one in said
        ]
        return {"claims": said, "verdicts": verdicts, "notes": []}

    def __getitem__(self, name: str) -> Row:
        """The row of a claim."""
        for row in self.rows:
            if row.id == name:
                return row
        raise InputError(
            f"No claim called {name!r} in this table; it holds {', '.join(row.id for row in self.rows)}."
        )

    def to_frame(self):
        """A pandas frame, one row a claim."""
        import pandas as pd

        rows = [{name: v for name, v in asdict(row).items() if name != "published"}
                | {"published": (row.published or {}).get("verdict")} for row in self.rows]  # fmt: skip
        return pd.DataFrame(rows)

    def to_markdown(self) -> str:
        """A table for a README, an issue or a paper's appendix."""
        head = ("claim", "effect", "p, corrected", "as published", "verdict")
        lines = [_line(head), _line(["---"] * len(head))]
        for row in self.rows:
            published = (row.published or {}).get("verdict", "not run")
            claim = f"**{row.id}**: {row.statement} ({row.paper})"
            effect = f"{row.effect} {interval(row)}" if row.value is not None else row.why
            lines.append(_line((claim, effect, _p(row.p_holm), published, row.verdict)))
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        """One line a claim, for the terminal."""
        width = max((len(row.id) for row in self.rows), default=0)
        return "\n".join(
            f"{row.id:<{width}}  {row.verdict:<23}  {interval(row):<26}  p {_p(row.p_holm)}"
            for row in self.rows
        )

    def save(self, path: str | Path) -> None:
        """Write one JSON file, complete or not at all. Raises OutputError."""
        said = {
            "form": FORM, "version": __version__, "settings": dict(self.settings),
            "rows": [asdict(row) for row in self.rows],
        }  # fmt: skip
        write_whole(path, json.dumps(said, indent=1, allow_nan=False) + "\n")

    @staticmethod
    def load(path: str | Path) -> "ClaimTable":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or one of another kind.
        """
        try:
            said = json.loads(Path(path).read_text(encoding="utf-8"))
            if said.get("form") != FORM:
                raise InputError(f"{path} is no table of claims; give what ClaimTable.save wrote.")
            return ClaimTable(tuple(Row(**row) for row in said["rows"]), said["settings"])
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"Cannot read a table of claims from {path} ({error}).") from error


def table(judged: Sequence[Judged], settings: Mapping[str, Any]) -> ClaimTable:
    """The rows, with p-values corrected for all of them."""
    p = np.array([np.nan if one.p is None else one.p for one in judged])
    corrected = holm(p)
    return ClaimTable(
        tuple(_row(one, c) for one, c in zip(judged, corrected, strict=True)), dict(settings)
    )


def _row(one: Judged, corrected: float) -> Row:
    sound, claim = one.sound, one.claim
    low, high = sound["effect"]["ci"] or (None, None)
    word, why = one.verdict, sound["why"]
    if word == HOLDS and corrected >= ALPHA:
        word = UNKNOWN
        why += f" Corrected for the claims of this table its p is {corrected:.3g}, not below {ALPHA:g}."
    published = one.published and {
        name: one.published[name] for name in ("verdict", "effect", "p", "why")
    }
    return Row(
        id=claim.id, verdict=word, statement=claim.statement, effect=sound["effect"]["name"],
        value=sound["effect"]["value"], low=low, high=high, p=one.p,
        p_holm=None if np.isnan(corrected) else float(corrected),
        null=null_name(sound) or None, why=why,
        published=published, paper=claim.paper.name, section=claim.section, study=claim.study,
        alone=one.verdict,
    )  # fmt: skip


def _said(row: Row) -> dict[str, Any]:
    ends = None if row.low is None else [row.low, row.high]
    same = ("id", "statement", "paper", "section", "study", "verdict", "alone", "p", "null", "why",
            "published")  # fmt: skip
    return {name: getattr(row, name) for name in same} | {
        "effect": {"name": row.effect, "value": row.value, "ci": ends}, "p_corrected": row.p_holm,
    }  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def interval(row: Row) -> str:
    """Effect and interval, or a dash."""
    if row.value is None:
        return "-"
    known = [one for one in (row.value, row.low, row.high) if one is not None]
    value, *ends = (f"{round(one, 3) + 0.0:+.3f}" for one in known)  # 0 has no sign
    return f"{value} [{', '.join(ends)}]" if len(ends) == 2 else value


def _p(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
