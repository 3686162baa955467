"""Values of settings.yaml, held against the types that the record annotates."""

import types
import typing
from typing import Any


def _choices(wanted: Any) -> tuple[Any, ...]:
    """The types of a union; any other type by itself."""
    return typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)


def fits(value: Any, wanted: Any) -> bool:
    """Whether a value of a YAML file is of this type; a whole number is a number, true is none."""
    for choice in _choices(wanted):
        if typing.get_origin(choice) is tuple:
            inner = typing.get_args(choice)[0]
            if isinstance(value, list) and all(fits(one, inner) for one in value):
                return True
        elif type(value) is choice or (choice is float and type(value) is int):
            return True
    return False


def fitted(value: Any, wanted: Any) -> Any:
    """The value as the record holds it: a tuple for a list."""
    if not isinstance(value, list):
        return value
    inner = next(typing.get_args(c)[0] for c in _choices(wanted) if typing.get_origin(c) is tuple)
    return tuple(inner(one) for one in value)


def in_words(wanted: Any) -> str:
    """A type in words.

    >>> in_words(int), in_words(int | None), in_words(tuple[float, ...])
    ('int', 'int or null', 'a list of float')
    """
    words = [
        f"a list of {typing.get_args(choice)[0].__name__}" if typing.get_origin(choice) is tuple
        else "null" if choice is types.NoneType else choice.__name__
        for choice in _choices(wanted)
    ]  # fmt: skip
    return " or ".join(words)
