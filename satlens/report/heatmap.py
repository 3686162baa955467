"""The documents of the token heatmap, as the page's script reads them."""

from collections.abc import Mapping
from typing import Any

from satlens.errors import InputError
from satlens.report.words import visible


def document(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One document with its words listed once and everything in them made visible.

    Args:
        entry: ``{"doc": int, "title": str, "tokens": [str per position], "top": [[[str] * k per layer] per
            position], "layer": [[s per rank] per position]}``.

    Raises:
        InputError: its parts do not fit together.
    """
    tokens, top, layer = entry["tokens"], entry["top"], entry["layer"]
    shapes = {(len(states), *{len(ranking) for ranking in states}) for states in top}
    ranks = {(len(states), len(fixed)) for states, fixed in zip(top, layer, strict=False)}
    if (
        not tokens
        or not len(tokens) == len(top) == len(layer)
        or len(shapes) > 1
        or ranks != shapes
    ):
        raise InputError(
            f"Heatmap document {entry['doc']}: {len(tokens)} tokens, {len(top)} rankings and {len(layer)} "
            "rows of layers; it wants one of each a position, every ranking [layer, k], every row [k]."
        )
    words: dict[str, int] = {}

    def at(text: str) -> int:
        return words.setdefault(text, len(words))

    made = {
        "title": visible(str(entry["title"])).replace("·", " "), "tokens": [at(token) for token in tokens],
        "top": [[[at(word) for word in ranking] for ranking in states] for states in top],
        "layer": [list(fixed) for fixed in layer],
    }  # fmt: skip
    return made | {"words": [visible(word) for word in words]}
