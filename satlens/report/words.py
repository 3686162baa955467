"""Numbers and token texts as a reader sees them, the same in the terminal, in Markdown and on the page."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

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


def known(value: Any) -> bool:
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


def part(results: Mapping[str, Any], *keys: str) -> Any:
    """The value under these keys, or None where any of them is missing or None.

    >>> part({"a": {"b": 3}}, "a", "b"), part({"a": None}, "a", "b")
    (3, None)
    """
    value: Any = results
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


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
