"""A claim of a paper as something that can be run: what is said, how it was tested, and how it is here.

A claim is judged from the results of one study, mostly a verb's (`satlens.runs`): `Claim.evidence` picks the
verdict of the sound test out of them, `Claim.published` that of the paper's own protocol where it can be run.
Together:

    holds                      the sound test holds
    holds as published only    the paper's test holds, the sound one does not
    does not hold              neither
    cannot be told here        the sound test cannot tell, or could not be made
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from satlens.errors import InputError
from satlens.models.protocol import READS
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN, weakest

Verdict = Mapping[str, Any]
"""An entry of "verdicts" in a results.json."""
Evidence = Callable[[Mapping[str, Any]], Verdict]
"""The results of a verb -> the verdict that a claim rests on."""


@dataclass(frozen=True)
class Paper:
    """Where a claim comes from."""

    name: str
    title: str
    where: str


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id: its name in code, in tests and on the page.
        statement: what the paper says, in our words.
        section: what the paper calls the part that it is from.
        protocol: how the paper tested it. test: how it is tested here.
        controls: what the effect is held against.
        study: the verb, or the experiment (`satlens.claims.experiments`), whose results it is judged from.
        evidence, published: the verdict of the sound test, and of the paper's own, None where that cannot be
            run.
        takes: what a model must read, of `satlens.models.protocol.READS`; () for a claim that is about no
            given model, since its study trains its own.
    """

    id: str
    statement: str
    paper: Paper
    section: str
    protocol: str
    test: str
    controls: tuple[str, ...]
    study: str
    evidence: Evidence
    published: Evidence | None = None
    takes: tuple[str, ...] = tuple(READS)

    def judge(self, results: Mapping[str, Any]) -> "Judged":
        """The verdict, from what the verb found."""
        sound = self.evidence(results)
        as_published = None if self.published is None else self.published(results)
        return Judged(self, combined(sound, as_published), sound, as_published)

    def untold(self, why: str) -> "Judged":
        """The claim where its study could not be made."""
        return Judged(self, UNKNOWN, nothing(why), None)


@dataclass(frozen=True)
class Judged:
    """A claim on one model: the verdict, and the two it is made of."""

    claim: Claim
    verdict: str
    sound: Verdict
    published: Verdict | None

    @property
    def p(self) -> float | None:
        """Of the sound test; None where it has none, or cannot tell."""
        return self.sound["p"]


def combined(sound: Verdict, published: Verdict | None) -> str:
    """What the two tests say together.

    >>> holds, fails = {"verdict": HOLDS}, {"verdict": FAILS}
    >>> combined(holds, fails), combined(fails, holds), combined(fails, None)
    ('holds', 'holds as published only', 'does not hold')
    """
    passed = published is not None and published["verdict"] in (HOLDS, AS_PUBLISHED)
    if sound["verdict"] == FAILS and passed:
        return AS_PUBLISHED
    return sound["verdict"]


def verdict(name: str) -> Evidence:
    """The verdict of this id; without it the claim cannot be told."""

    def find(results: Mapping[str, Any]) -> Verdict:
        return _found(results).get(name) or nothing(_lacks(results, name))

    return find


def all_of(*names: str) -> Evidence:
    """Of several verdicts the weakest: the claim holds if each of them does.

    Those that the results do not hold are left out, where one of them is there. The p-value is the largest
    (an intersection-union test: no correction is needed for how many there are).
    """

    def find(results: Mapping[str, Any]) -> Verdict:
        there = _found(results)
        every = [there[name] for name in names if name in there]
        if not every:
            return nothing(_lacks(results, names[0]))
        return weakest(every)

    return find


def nothing(why: str) -> Verdict:
    """No verdict, and the reason."""
    return {
        "id": "", "statement": "", "verdict": UNKNOWN, "effect": {"name": "", "value": None, "ci": None},
        "p": None, "why": why, "null": None,
    }  # fmt: skip


def check_ids(claims: Mapping[str, Claim], asked: Any) -> list[str]:
    """The claims that were asked for, each known.

    Raises:
        InputError: an unknown one, or none.
    """
    names = list(claims) if asked is None else [asked] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in claims]
    if unknown or not names:
        raise InputError(
            f"No claim called {', '.join(map(repr, unknown)) or 'nothing'}. Choices: {', '.join(claims)}."
        )
    return list(dict.fromkeys(names))


def _found(results: Mapping[str, Any]) -> dict[str, Verdict]:
    return {one["id"]: one for one in results["verdicts"]}


def _lacks(results: Mapping[str, Any], name: str) -> str:
    notes = " ".join(results.get("notes", ()))
    return f"The run gave no verdict {name!r}.{' ' + notes if notes else ''}"
