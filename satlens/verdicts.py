"""The rule that turns an effect and its interval into a verdict, the same for every claim.

With ``[low, high]`` the interval of an effect over its strictest null or control, and an equivalence margin
``m`` (an effect below m is too small to speak of):

    holds                low > 0
    does not hold        low <= 0 and high < m     (an effect of m or more is excluded)
    cannot be told here  anything else: the interval holds both 0 and m, or there is no interval
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from satlens.resampling import Estimate, finite

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot be told here"
AS_PUBLISHED = "holds as published only"


def rule(estimate: Estimate, margin: float, effect: str) -> tuple[str, str]:
    """The verdict on one effect, and why in one sentence; ``effect`` names it ("the excess over ...").

    >>> rule(Estimate(0.1, 0.05, 0.15), 0.02, "the excess over the rotated path")[0]
    'holds'
    >>> rule(Estimate(0.0, -0.01, 0.01), 0.02, "the excess over the rotated path")[0]
    'does not hold'
    """
    low, high = estimate.low, estimate.high
    if np.isnan(low) or np.isnan(high):
        return UNKNOWN, f"There is {estimate.note or 'no interval'}."
    value, lower, upper = (f"{round(x, 3) + 0.0:+.3f}" for x in (estimate.value, low, high))
    span = f"{effect}, {value} [{lower}, {upper}],"
    if low > 0:
        small = f" It is smaller than {margin:g}." if high < margin else ""
        return HOLDS, f"The interval of {span} lies above 0.{small}"
    if high < margin:
        where = "lies below 0" if high < 0 else f"excludes an effect of {margin:g} or more"
        return FAILS, f"The interval of {span} {where}."
    return (
        UNKNOWN,
        f"The interval of {span} holds both 0 and {margin:g}: more documents would tell.",
    )


def judged(
    identity: str,
    statement: str,
    effect: tuple[str, Estimate],
    margin: float,
    null: str | None = None,
    p: float | None = None,
) -> dict[str, Any]:
    """One entry of "verdicts" in results.json: the statement, its effect by name, the verdict and why.

    ``p`` is the effect's own (`satlens.resampling.Estimate.p`) where no other test is given.

    >>> effect = ("excess", Estimate(0.1, 0.05, 0.15))
    >>> found = judged("order", "Ranks are fixed in order.", effect, 0.02, "rotated")
    >>> found["verdict"], found["effect"], found["null"]
    ('holds', {'name': 'excess', 'value': 0.1, 'ci': [0.05, 0.15]}, 'rotated')
    """
    name, estimate = effect
    word, why = rule(estimate, margin, f"the {name}")
    return {
        "id": identity,
        "statement": statement,
        "verdict": word,
        "effect": {"name": name, **estimate.to_dict()},
        "p": finite(estimate.p if p is None else p),
        "why": why,
        "null": null,
    }


def weakest(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several verdicts that must hold together the weakest, with the largest p.

    >>> one = {"verdict": HOLDS, "effect": {"ci": [0.1, 0.2]}, "p": 0.001}
    >>> weakest([one, one | {"effect": {"ci": [0.05, 0.3]}, "p": 0.01}])["effect"], weakest([one, one])["p"]
    ({'ci': [0.05, 0.3]}, 0.001)
    """
    known = [one["p"] for one in every]
    return {**max(every, key=_weakness), "p": None if None in known else max(known)}


def agreed(every: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    """One verdict on several trainings (or whatever ``what`` calls them): theirs, where they agree.

    Where they do not, it cannot be told. Effect and p are those of the weakest. A test of a paper that holds
    everywhere, and in some of them as published only, holds as published only.

    >>> one = judged("a", "It is so.", ("excess", Estimate(0.1, 0.05, 0.15)), 0.02)
    >>> other = judged("a", "It is so.", ("excess", Estimate(0.0, -0.01, 0.01)), 0.02)
    >>> agreed([one, one], "trainings")["verdict"], agreed([one, other], "trainings")["verdict"]
    ('holds', 'cannot be told here')
    >>> print(agreed([one, other], "trainings")["why"].split(" The weakest")[0])
    Of 2 trainings 1 says holds, 1 does not hold.
    >>> agreed([one, one | {"verdict": AS_PUBLISHED}], "splits")["verdict"]
    'holds as published only'
    """
    words = [one["verdict"] for one in every]
    least = weakest(every)
    if len(every) == 1:
        return least
    if len(set(words)) == 1 or set(words) == {HOLDS, AS_PUBLISHED}:
        return least | {
            "why": f"{least['why']} So in each of {len(every)} {what}; this is the weakest."
        }
    counts = [
        f"{words.count(word)} {'says ' if i == 0 else ''}{word}"
        for i, word in enumerate(dict.fromkeys(words))
    ]
    said = f"Of {len(every)} {what} {', '.join(counts)}. The weakest: {least['why']}"
    return least | {"verdict": UNKNOWN, "why": said}


def _weakness(one: Mapping[str, Any]) -> tuple[int, float]:
    """Does not hold is weaker than cannot be told, and that than holds; among equals the smaller effect."""
    order = (HOLDS, AS_PUBLISHED, UNKNOWN, FAILS)
    ci = one["effect"]["ci"]
    low = ci[0] if ci and ci[0] is not None else -float("inf")
    return order.index(one["verdict"]), -low
