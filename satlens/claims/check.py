"""One claim of a paper as a line of somebody's test: `check`."""

from dataclasses import dataclass
from typing import Any

from satlens.claims.claim import Claim, check_ids
from satlens.claims.registry import CLAIMS
from satlens.claims.run import run
from satlens.claims.table import Row, interval
from satlens.survey.corpus import BUNDLED
from satlens.verdicts import HOLDS


@dataclass(frozen=True)
class Check:
    """A claim, to be asked of a model."""

    claim: Claim

    def on(self, model: Any = None, corpus: Any = BUNDLED, **asked: Any) -> Row:
        """What `satlens.claims.run` says of this claim alone: ``row.verdict``, ``row.value``, ``row.p``.

        Args:
            model, corpus, asked: as there.
        """
        return run(model, corpus, only=self.claim.id, **asked).rows[0]

    def holds_on(self, model: Any = None, corpus: Any = BUNDLED, **asked: Any) -> Row:
        """The same, and an AssertionError with the effect and the reason unless the verdict is "holds"."""
        row = self.on(model, corpus, **asked)
        if row.verdict != HOLDS:
            raise AssertionError(
                f"{row.id}: {row.verdict}. {row.statement} {row.effect} {interval(row)}. {row.why}"
            )
        return row


def check(name: str) -> Check:
    """The claim of this name; the fixture ``claim`` of the pytest plugin is this function.

    Raises:
        InputError: no such claim.

    Example::

        def test_order(claim):
            claim("order").holds_on(model, texts)
    """
    return Check(CLAIMS[check_ids(CLAIMS, name)[0]])
