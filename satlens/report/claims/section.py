"""The part of the page on claims: the table that the other parts are the evidence of."""

from collections.abc import Mapping
from typing import Any

from satlens.report import html
from satlens.report.chart import Caption, Charts
from satlens.report.claims import tables as claims_tables
from satlens.report.words import count
from satlens.verdicts import AS_PUBLISHED, HOLDS

CHARTS: Charts = {}
CAPTIONS: dict[str, Caption] = {}
MISSING: dict[str, str] = {}
"""A table has no charts: those of its evidence are in the other parts."""

NAME = "Claims of the papers"
QUESTION = (
    "Which claims of the papers hold on this model, by a sound test, and which by the paper's own "
    "test only?"
)
FILES = "the claims in claims/results.json and claims/claims.md"


def holes(results: Mapping[str, Any]) -> dict[str, str]:
    """What goes into the holes of section.html."""
    return {"claims_table": html.table(claims_tables.claims_table(results))}


def tiles(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How many hold, and how many as published only."""
    found, asked = claims_tables.counted(results), len(results["claims"])
    return [
        (str(found.get(HOLDS, 0)), f"of {count(asked, 'claim')} of the papers hold here"),
        (str(found.get(AS_PUBLISHED, 0)), "hold by the paper's own test only"),
    ]


def size(results: Mapping[str, Any], chart: str) -> str:
    """How much is behind a chart: there are none."""
    return ""


def ranks(results: Mapping[str, Any]) -> int:
    """Colours of ranks that the charts need."""
    return 0
