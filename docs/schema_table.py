"""JSON schemas as Markdown: one row a key, in the schemas' own words."""

from collections.abc import Iterator
from typing import Any


def keys_of_results(schemas: dict[str, dict[str, Any]]) -> str:
    """The keys of every verb's results.json, then the shapes that they are of, each once."""
    lines, shapes = [], {}
    for verb, schema in schemas.items():
        lines += table(f"Keys: satlens {verb}", schema)
        shapes |= schema.get("$defs", {})
    for name, part in shapes.items():
        lines += table(f"Shape: {name}", part)
    return "\n".join(lines) + "\n"


def table(title: str, part: dict[str, Any]) -> list[str]:
    """One heading and its table; a shape without keys is one line."""
    rows = list(keys(part))
    lines = ["", f"## {title}", "", one_line(part.get("description", "")), ""]
    if rows:
        lines += ["| key | type | meaning |", "|---|---|---|"]
        lines += [f"| `{key}` | {kind} | {meaning} |" for key, kind, meaning in rows]
    else:
        lines += [f"Type: {type_of(part)}", ""]
    return lines


def keys(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key below ``part``, dotted; ``[]`` stands for the entries of a list."""
    for name, value in part.get("properties", {}).items():
        yield f"{prefix}{name}", type_of(value), one_line(value.get("description", ""))
        yield from keys(value, f"{prefix}{name}.")
        items = value.get("items")
        if isinstance(items, dict):
            yield from keys(items, f"{prefix}{name}[].")


def type_of(part: dict[str, Any]) -> str:
    """The type in words: `string`, `number or null`, the name of a shape, or the choices."""
    if "$ref" in part:
        shape = part["$ref"].rsplit("/", 1)[-1]
        return f"[{shape}](#shape-{shape})"
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join(f"`{choice}`" for choice in part["enum"])
    for combined in ("anyOf", "oneOf"):
        if combined in part:
            return " or ".join(type_of(choice) for choice in part[combined])
    kind = part.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else kind
    items = part.get("items")
    if isinstance(items, dict) and "properties" not in items:
        text += f" of {type_of(items)}"
    return text


def one_line(text: str) -> str:
    """Text that fits into a table cell."""
    return " ".join(text.split()).replace("|", "\\|")
