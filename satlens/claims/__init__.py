"""Every claim of the source papers as a check: the sound test, the paper's own, and a verdict."""

from satlens.claims.check import Check, check
from satlens.claims.claim import Claim, Judged, Paper
from satlens.claims.registry import CLAIMS
from satlens.claims.run import run
from satlens.claims.table import ClaimTable, Row

__all__ = ["CLAIMS", "Check", "Claim", "ClaimTable", "Judged", "Paper", "Row", "check", "run"]
