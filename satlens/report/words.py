"""Numbers and token texts as a reader sees them, the same in the terminal, in Markdown and on the page."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeGuard

NOT_AVAILABLE = "not available"

_NAMED = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"}

NULL_NAMES = {
    "permuted": "ranks permuted",
    "rotated": "path rotated",
    "exchanged": "path exchanged",
    "walk": "random walk",
    "line": "straight line",
    "untrained": "untrained model",
}
"""The nulls in the order of the tables, weakest first, with the words for each."""

NULL_MEANING = {
    "permuted": "each token's saturation layers shuffled among its ranks",
    "rotated": "same end and same distances to it, the way turned at random",
    "exchanged": "same end and same distances to it, the way of another token",
    "walk": "a random walk into the final state, with the real step sizes",
    "line": "a straight line into the final state, plus noise",
    "untrained": "the same shape with fresh weights",
}

CONTROL_NAMES = {
    "layer": "layer number alone",
    "shuffled": "labels shuffled",
    "margin": "margins and entropy",
    "identity": "token identity",
    "control_task": "control task",
    "gaussian": "Gaussian, as published",
    "untrained": "untrained model",
    "rotated": "path rotated",
    "exchanged": "path exchanged",
}
"""The controls of a probe in the order of the tables, with the words for each."""

CONTROL_MEANING = {
    "layer": "the number of the layer and no state",
    "shuffled": "the states, with their stages shuffled within each layer",
    "margin": "how sure the model ends up, by layer, and no state",
    "identity": "the token that is read and the token that is answered, and no state",
    "control_task": "the states, asked for a random stage of each token type: what can be learned by heart",
    "gaussian": "noise with one mean and one spread a stage: it lacks all that a state consists of",
    "untrained": "states of fresh weights, in stages of their own",
    "rotated": "states that come another way into the same end, in stages of their own",
    "exchanged": "states that come the way of another token into the same end, in stages of their own",
}

CONDITION_NAMES = {
    "clean": "nothing put in",
    "paired": "paired donor",
    "self": "its own state",
    "unsaturated": "donor not yet saturated",
    "random_donor": "random donor",
    "shuffled": "pairs shuffled",
    "random_direction": "random direction",
}
"""What is put into a recipient, with the words for each."""

CONDITION_MEANING = {
    "clean": "the recipient as it is",
    "paired": "the state of the token with the same answer that settles earlier: the published patch",
    "self": "the recipient's own state: it must change nothing",
    "unsaturated": "a third token with the same answer, not yet fixed at that layer",
    "random_donor": "a token of another document with another answer",
    "shuffled": "the donor of another pair",
    "random_direction": "a move as far as to the donor's state, in a random direction",
}

DIRECTION_NAMES = {
    "means": "mean difference",
    "probe": "normal of a probe",
    "shuffled": "labels shuffled",
    "random": "random direction",
    "rotated": "path rotated",
    "exchanged": "path exchanged",
}
"""What is added to a state when it is steered, with the words for each."""

DIRECTION_MEANING = {
    "means": "mean state of the next stage minus mean state of this one, from other documents",
    "probe": "normal of a logistic regression between the two stages, of the same length",
    "shuffled": "mean difference once the stages are shuffled, of the same length",
    "random": "a random direction of the same length",
    "rotated": "mean difference of states that come another way into the same end, of the same length",
    "exchanged": "mean difference of states that come the way of another token, of the same length",
}

RERANK_NULL_NAMES = {
    "shuffled": "layers shuffled",
    "rotated": "path rotated",
    "exchanged": "path exchanged",
    "untrained": "untrained model",
}
"""Layers that say nothing of a rank being right, with the words for each."""

RERANK_NULL_MEANING = {
    "shuffled": "the real layers, among positions of like final probability, entropy and margin",
    "rotated": "layers along a way turned at random, with the same end and the same distances to it",
    "exchanged": "layers along the way of another token into the same end, at the same distances",
    "untrained": "layers of an untrained model's own ranks at the same positions",
}

VARIANT_NAMES = {
    "model": "the model",
    "temperature": "temperature",
    "ranks": "ranks alone",
    "shuffled": "layers shuffled",
    "saturation": "saturation layers",
}
"""Next-token distributions that are compared, with the words for each."""

VARIANT_MEANING = {
    "model": "the model's own distribution",
    "temperature": "the same at the temperature with the smallest loss",
    "ranks": "each rank reweighted by its probability and the entropy, without saturation layers",
    "shuffled": "the same with saturation layers of other positions of like probability and entropy",
    "saturation": "the same with the position's own saturation layers",
}

ROUTE_NULL_NAMES = {**NULL_NAMES, "random": "skipping at random", "early_exit": "early exit"}
"""What routers are held against, with the words for each."""

_NAMES_BY_VERDICT = {
    "router": ROUTE_NULL_NAMES,
    "early_rank_right": RERANK_NULL_NAMES,
    "reranking": VARIANT_NAMES,
    "stage_decodable": CONTROL_NAMES,
    "transition_by_patching": CONDITION_NAMES,
    "transition_by_steering": DIRECTION_NAMES,
}


KINDS = ("trained", "untrained")
"""The two models of an audit, by their keys in the results."""


def visible(text: str) -> str:
    r"""A token with everything in it to be seen: spaces, line ends, control and format characters.

    A space is ``·``, a newline ``⏎``, a tab ``⇥``; what has no picture of its own (control
    characters, marks of writing direction, lone surrogates) is written as its code.

    >>> visible(" the\n"), visible("\x1b[2J"), visible("\u202eabc"), visible("")
    ('·the⏎', '\\x1b[2J', '\\u202eabc', '∅')
    """
    return "".join(_seen(char) for char in text) or "∅"


def _seen(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if unicodedata.category(char)[0] not in "CZ":
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def known(value: Any) -> TypeGuard[float]:
    """Whether this is a number that can be shown: not None, NaN or infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, digits: int = 2, sign: bool = False) -> str:
    """A number with a fixed count of digits, or the words that it is not there.

    >>> number(0.456), number(12, 0), number(float("nan")), number(-0.001), number(0.5, 1, sign=True)
    ('0.46', '12', 'not available', '0.00', '+0.5')
    """
    if not known(value):
        return NOT_AVAILABLE
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return text.lstrip("+-") if not text.strip("+-0.,") else text


def interval(ci: Any, digits: int = 2, sign: bool = False) -> str:
    """An interval as ``[low, high]``.

    >>> interval([0.1, 0.25]), interval(None)
    ('[0.10, 0.25]', 'not available')
    """
    if not ci or not all(known(end) for end in ci):
        return NOT_AVAILABLE
    return f"[{number(ci[0], digits, sign)}, {number(ci[1], digits, sign)}]"


def estimate(value: Any, ci: Any, digits: int = 2, sign: bool = False) -> str:
    """A number and its interval; the number alone where there is no interval.

    >>> estimate(0.2, [0.1, 0.25]), estimate(0.2, None), estimate(None, None)
    ('0.20 [0.10, 0.25]', '0.20', 'not available')
    """
    if not known(value):
        return NOT_AVAILABLE
    ends = interval(ci, digits, sign)
    return number(value, digits, sign) + ("" if ends == NOT_AVAILABLE else f" {ends}")


def p_value(p: Any) -> str:
    """A p-value, never shown as 0.

    >>> p_value(0.034), p_value(0.0001), p_value(None)
    ('0.034', '< 0.001', 'not available')
    """
    if not known(p):
        return NOT_AVAILABLE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def part(results: Mapping[str, Any] | None, *keys: str) -> Any:
    """The value under these keys, or None where any of them is missing or None.

    >>> part({"a": {"b": 3}}, "a", "b"), part({"a": None}, "a", "b")
    (3, None)
    """
    value: Any = results
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def null_name(verdict: Mapping[str, Any]) -> str:
    """The words for what a verdict is taken against; "shuffled" means another thing in each part.

    >>> null_name({"id": "transition_by_patching_as_published", "null": "shuffled"})
    'pairs shuffled'
    >>> null_name({"id": "order", "null": "rotated"}), null_name({"id": "order", "null": "dice"})
    ('path rotated', 'dice')
    """
    against = verdict.get("null") or ""
    names = NULL_NAMES
    for start, of_part in _NAMES_BY_VERDICT.items():
        names = of_part if str(verdict["id"]).startswith(start) else names
    return names.get(against, against)


def count(n: int, word: str) -> str:
    """A count with its word in the right number.

    >>> count(1, "document"), count(2000, "token")
    ('1 document', '2,000 tokens')
    """
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def drawn_nulls(results: Mapping[str, Any]) -> list[str]:
    """The nulls that these results hold, in the order of the tables.

    >>> drawn_nulls({"nulls": {"untrained": {"draws": 1}, "rotated": {"draws": 20}}})
    ['rotated', 'untrained']
    """
    return [name for name in NULL_NAMES if part(results, "nulls", name)]
