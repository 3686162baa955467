"""The forms of results.json: their schemas, a check that needs no other package, reading and writing.

A file says which form it has under "schema". `VERB/schema.json` beside this file describes every key of each
form: it is the documentation. The check understands the part of JSON Schema that the files use and
refuses a keyword it does not know, so that it never passes what it did not look at.
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


_EVERY = (
    "claims", "audit", "probe", "patch", "shortcut", "exits", "rerank", "depth", "route", "dynamics",
)  # fmt: skip
VERBS = {f"satlens.{verb}/1": verb for verb in _EVERY}
"""The verb of the command line that writes each form, in the order of the page."""


@functools.cache
def schema(verb: str = "audit") -> dict[str, Any]:
    """The JSON Schema of what a verb writes, with a description on every key.

    >>> schema("probe")["properties"]["notes"]["type"]
    'array'
    """
    path = Path(__file__).with_name(verb) / "schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def verb_of(results: Mapping[str, Any]) -> str:
    """The verb that wrote these results.

    >>> verb_of({"schema": "satlens.patch/1"})
    'patch'

    Raises:
        InputError: they have none of the documented forms.
    """
    form = results.get("schema") if isinstance(results, Mapping) else None
    if not isinstance(form, str) or form not in VERBS:
        raise InputError(
            "These results do not have the form of results.json: results.schema is "
            f"{_short(form)}, not one of {', '.join(VERBS)}."
        )
    return VERBS[form]


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
    verb = verb_of(results)
    rules = schema(verb)
    found = problems(results, rules, "results")
    if found:
        more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
        raise InputError(
            "These results do not have the form of results.json: " + "; ".join(found[:5]) + more
            + f". The form is described in satlens/report/{verb}/schema.json."
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


def problems(value: Any, rule: Mapping[str, Any], where: str) -> list[str]:
    """Every way in which ``value`` breaks a rule of the schemas' kind, as "path: what is wrong".

    >>> problems({"a": 0}, {"required": ["b"], "properties": {"a": {"minimum": 1}}}, "entry")
    ['entry.b is missing', 'entry.a is 0, below 1']
    """
    return list(_problems(value, rule, where, rule))


def _problems(
    value: Any, rule: Mapping[str, Any], where: str, root: Mapping[str, Any]
) -> Iterator[str]:
    """Every way in which ``value`` breaks ``rule``, as "path: what is wrong"; ``root`` holds "$defs"."""
    for keyword, wanted in rule.items():
        if keyword in _SILENT:
            continue
        if keyword not in _CHECKS:
            raise InputError(f"The schema uses {keyword!r}, which the check does not know.")
        yield from _CHECKS[keyword](value, wanted, rule, where, root)


def _type(value: Any, wanted: Any, _rule: Any, where: str, _root: Any) -> Iterator[str]:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not any(_TYPES[kind](value) for kind in kinds):
        yield f"{where} is {_short(value)}, not {' or '.join(kinds)}"


def _ref(value: Any, wanted: Any, _rule: Any, where: str, root: Any) -> Iterator[str]:
    yield from _problems(value, root["$defs"][wanted.removeprefix("#/$defs/")], where, root)


def _required(value: Any, wanted: Any, _rule: Any, where: str, _root: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (f"{where}.{key} is missing" for key in wanted if key not in value)


def _properties(value: Any, wanted: Any, _rule: Any, where: str, root: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key in wanted.keys() & value.keys():
            yield from _problems(value[key], wanted[key], f"{where}.{key}", root)


def _additional(value: Any, wanted: Any, rule: Any, where: str, root: Any) -> Iterator[str]:
    if not isinstance(value, Mapping) or wanted is True:
        return
    for key in value.keys() - rule.get("properties", {}).keys():
        if wanted is False:
            yield f"{where}.{key} is not a documented key"
        else:
            yield from _problems(value[key], wanted, f"{where}.{key}", root)


def _items(value: Any, wanted: Any, _rule: Any, where: str, root: Any) -> Iterator[str]:
    if _TYPES["array"](value):
        for i, inner in enumerate(value):
            yield from _problems(inner, wanted, f"{where}[{i}]", root)


def _any_of(value: Any, wanted: Any, _rule: Any, where: str, root: Any) -> Iterator[str]:
    tries = [list(_problems(value, rule, where, root)) for rule in wanted]
    if all(tries):
        yield from tries[0]


def _length(value: Any, wanted: Any, rule: Any, where: str, _root: Any) -> Iterator[str]:
    low, high = rule.get("minItems", 0), rule.get("maxItems", math.inf)
    if _TYPES["array"](value) and not low <= len(value) <= high:
        yield f"{where} has {len(value)} entries, not {wanted}"


def _minimum(value: Any, wanted: Any, _rule: Any, where: str, _root: Any) -> Iterator[str]:
    if _TYPES["number"](value) and value < wanted:
        yield f"{where} is {value}, below {wanted}"


def _enum(value: Any, wanted: Any, _rule: Any, where: str, _root: Any) -> Iterator[str]:
    if value not in wanted:
        yield f"{where} is {_short(value)}, not one of {wanted}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_CHECKS = {
    "type": _type, "$ref": _ref, "required": _required, "properties": _properties,
    "additionalProperties": _additional, "items": _items, "anyOf": _any_of, "minItems": _length,
    "maxItems": _length, "minimum": _minimum, "enum": _enum,
    "const": lambda value, wanted, *rest: _enum(value, [wanted], *rest),
}  # fmt: skip
