"""The form of results.json: its schema, a check that needs no other package, reading and writing.

`schema.json` beside this file describes every key: it is the documentation. The check understands the
part of JSON Schema that the file uses and refuses a keyword it does not know, so that it never passes
what it did not look at.
"""

import functools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from satlens.errors import InputError
from satlens.files import write_whole

_TYPES = {
    "object": lambda v: isinstance(v, Mapping),
    "array": lambda v: isinstance(v, list | tuple),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}
_SILENT = {"$schema", "$defs", "title", "description"}


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema of results.json, with a description on every key.

    >>> schema()["properties"]["notes"]["type"]
    'array'
    """
    return json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """The same value in what JSON can say: numpy becomes plain, NaN and infinity become None.

    >>> plain({"a": np.float32("nan"), "b": np.arange(2), 3: (1.5,)})
    {'a': None, 'b': [0, 1], '3': [1.5]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def check_results(results: Mapping[str, Any]) -> None:
    """Pass silently what has the form of results.json.

    Raises:
        InputError: it has not; the message names the first keys that are wrong.
    """
    found = list(_problems(results, schema(), "results"))
    if found:
        more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
        raise InputError(
            "These results do not have the form of results.json: " + "; ".join(found[:5]) + more
            + ". The form is described in satlens/report/schema.json."
        )  # fmt: skip


def write_results(results: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Check the results and write them as JSON, complete or not at all.

    Raises:
        InputError: they do not have the documented form.
        OutputError: the file cannot be written.
    """
    results = plain(results)
    check_results(results)
    text = json.dumps(results, indent=1, allow_nan=False)
    return write_whole(path, text + "\n")


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The results of a run, checked.

    Raises:
        InputError: no such file, no JSON, or not the documented form.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Could not read results from {path}: {error}.") from error
    check_results(results)
    return results


def _problems(value: Any, rule: Mapping[str, Any], where: str) -> Iterator[str]:
    """Every way in which ``value`` breaks ``rule``, as "path: what is wrong"."""
    for keyword, wanted in rule.items():
        if keyword in _SILENT:
            continue
        if keyword not in _CHECKS:
            raise InputError(f"schema.json uses {keyword!r}, which the check does not know.")
        yield from _CHECKS[keyword](value, wanted, rule, where)


def _type(value, wanted, _rule, where):
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not any(_TYPES[kind](value) for kind in kinds):
        yield f"{where} is {_short(value)}, not {' or '.join(kinds)}"


def _ref(value, wanted, _rule, where):
    yield from _problems(value, schema()["$defs"][wanted.removeprefix("#/$defs/")], where)


def _required(value, wanted, _rule, where):
    if isinstance(value, Mapping):
        yield from (f"{where}.{key} is missing" for key in wanted if key not in value)


def _properties(value, wanted, _rule, where):
    if isinstance(value, Mapping):
        for key in wanted.keys() & value.keys():
            yield from _problems(value[key], wanted[key], f"{where}.{key}")


def _additional(value, wanted, rule, where):
    if not isinstance(value, Mapping) or wanted is True:
        return
    for key in value.keys() - rule.get("properties", {}).keys():
        if wanted is False:
            yield f"{where}.{key} is not a documented key"
        else:
            yield from _problems(value[key], wanted, f"{where}.{key}")


def _items(value, wanted, _rule, where):
    if _TYPES["array"](value):
        for i, inner in enumerate(value):
            yield from _problems(inner, wanted, f"{where}[{i}]")


def _any_of(value, wanted, _rule, where):
    tries = [list(_problems(value, rule, where)) for rule in wanted]
    if all(tries):
        yield from tries[0]


def _length(value, wanted, rule, where):
    low, high = rule.get("minItems", 0), rule.get("maxItems", math.inf)
    if _TYPES["array"](value) and not low <= len(value) <= high:
        yield f"{where} has {len(value)} entries, not {wanted}"


def _minimum(value, wanted, _rule, where):
    if _TYPES["number"](value) and value < wanted:
        yield f"{where} is {value}, below {wanted}"


def _enum(value, wanted, _rule, where):
    if value not in wanted:
        yield f"{where} is {_short(value)}, not one of {wanted}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_CHECKS = {
    "type": _type, "$ref": _ref, "required": _required, "properties": _properties,
    "additionalProperties": _additional, "items": _items, "anyOf": _any_of, "minItems": _length,
    "maxItems": _length, "minimum": _minimum, "enum": _enum,
    "const": lambda value, wanted, rule, where: _enum(value, [wanted], rule, where),
}  # fmt: skip
