"""A place in a corpus where a document stands: `Slot`, readable or not.

    slot i = (where it stands, how large it is, its text, or the reason why it has none)

Slots are numbered 0, 1, 2, ... by their place in the whole corpus. An unreadable document keeps its
number, so that the number of a document depends neither on shards nor on what is wrong with others.
"""

from dataclasses import dataclass
from typing import Any

EMPTY = "empty"


@dataclass(frozen=True)
class Slot:
    """One document, or the place of one that cannot be read.

    Attributes:
        at: where a reader has to begin to read this document first; plain values, fit for JSON.
        size: bytes of the document.
        text: the document; None where it cannot be read.
        reason: why it cannot be read; empty where it can.
        place: where a person finds it.
    """

    at: tuple[Any, ...]
    size: int
    text: str | None
    reason: str = ""
    place: str = ""


def slot_of(value: Any, at: tuple[Any, ...], size: int, place: str) -> Slot:
    """The slot of a value that should be a text.

    >>> slot_of("Lily had a ball.", (0, 12), 16, "a.txt, byte 12").reason
    ''
    >>> slot_of(None, (0, 3), 0, "row 3").reason, slot_of(" ", (0, 3), 1, "row 3").reason
    ('not text but NoneType', 'empty')
    """
    reason = fault(value)
    return Slot(at, size, None if reason else value, reason, place)


def fault(value: Any) -> str:
    """Why a value is no document; empty where it is one."""
    if not isinstance(value, str):
        return f"not text but {type(value).__name__}"
    if not value.strip():
        return EMPTY
    if "\0" in value:
        return "not text: NUL bytes"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"not Unicode text: {value[error.start]!r} stands alone"
    return ""


def decoded(raw: bytes, encoding: str = "utf-8") -> tuple[str | None, str]:
    r"""A text and no reason, or no text and the reason.

    >>> decoded(b"caf\xe9")
    (None, 'not UTF-8 (byte 3 of it is 0xe9)')
    """
    try:
        return raw.decode(encoding), ""
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start} of it is {error.object[error.start]:#04x})"
