"""The documents of the heatmap, as the page's script reads them.

Documents of one position each, with a picture or a waveform, are shown as cards; any others as a table a
document, with what is seen or heard above it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from satlens.errors import InputError
from satlens.report import html
from satlens.report.nouns import Nouns
from satlens.report.validate import problems
from satlens.report.words import visible

_PICTURE = {
    "type": "object", "required": ["src", "alt", "width", "height"], "additionalProperties": False,
    "properties": {"src": {"type": "string"}, "alt": {"type": "string"},
                   "width": {"type": "integer", "minimum": 1}, "height": {"type": "integer", "minimum": 1}},
}  # fmt: skip
_WAVE = {
    "type": "object", "required": ["peaks", "seconds", "alt"], "additionalProperties": False,
    "properties": {
        "peaks": {"type": "array", "minItems": 1, "maxItems": 2000,
                  "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}},
        "seconds": {"type": "number"}, "read": {"type": "number"}, "frame": {"type": "number"},
        "alt": {"type": "string"},
    },
}  # fmt: skip
_DATA_URL = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
_LONGEST = 100_000
"""Characters of one picture: a page of a dozen stays far below 5 MB."""


def document(entry: Mapping[str, Any], labels: bool = False) -> dict[str, Any]:
    """One document with its words listed once and everything in them made visible.

    Args:
        entry: ``{"doc": int, "title": str, "tokens": [str per position], "top": [[[str] * k per layer] per
            position], "layer": [[s per rank] per position]}``. Optionally ``"pos"``: ``[int per position]``,
            the places in the document; ``"text"``, which stands above; ``"picture"``: ``{"src": a PNG or JPEG
            as a data URL, "alt": str, "width": px, "height": px}``; ``"wave"``: ``{"peaks": [[low, high]],
            "seconds": of all peaks, "alt": str}``, in it optionally ``"read"``, the seconds that the model
            read, and ``"frame"``, the seconds a position, where positions lie along the waveform.
        labels: the words are labels of classes, in which a space is a space and no part of a token.

    Raises:
        InputError: its parts do not fit together, or a picture or waveform is none.
    """
    tokens, top, layer, pos = _parts(entry)
    words: dict[str, int] = {}

    def at(text: str) -> int:
        return words.setdefault(text, len(words))

    made = {
        "title": _line(str(entry["title"])), "tokens": [at(token) for token in tokens],
        "pos": list(pos), "top": [[[at(word) for word in ranking] for ranking in states] for states in top],
        "layer": [list(fixed) for fixed in layer],
    }  # fmt: skip
    seen = [_line(word) if labels else visible(word) for word in words]
    return made | {"words": seen} | _shown(entry)


def _parts(
    entry: Mapping[str, Any],
) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Tokens, rankings, saturation layers and places, of one length."""
    tokens, top, layer = entry["tokens"], entry["top"], entry["layer"]
    pos = entry.get("pos", range(len(tokens)))
    shapes = {(len(states), *{len(ranking) for ranking in states}) for states in top}
    ranks = {(len(states), len(fixed)) for states, fixed in zip(top, layer, strict=False)}
    if (
        not tokens
        or not len(tokens) == len(top) == len(layer) == len(pos)
        or len(shapes) > 1
        or ranks != shapes
    ):
        raise InputError(
            f"Heatmap document {entry['doc']}: {len(tokens)} tokens, {len(top)} rankings, {len(layer)} rows "
            f"of layers and {len(pos)} places; it wants one of each a position, every ranking [layer, k], "
            "every row [k]."
        )
    return tokens, top, layer, pos


def frame(documents: Sequence[Mapping[str, Any]], nouns: Nouns) -> str:
    """What stands around the heatmap: how to read it, its controls and its key.

    Args:
        documents: as `document` makes them.
        nouns: the words for what was read.
    """
    seen = any("picture" in made for made in documents)
    waves = [made["wave"] for made in documents if "wave" in made]
    cards = (seen or bool(waves)) and all(len(made["tokens"]) == 1 for made in documents)
    how = [_CARDS if cards else _TABLE.format(answer=nouns.answer)]
    if waves and not cards:
        how.append(_ALONG if all("frame" in wave for wave in waves) else _ABOVE)
    how.append(f"Point at a {'row' if cards else 'cell'}, {_KEYS}")
    mind = [_MIND, *[_LOUD] * bool(waves), *[_FILES] * seen]
    holes = {
        "how": nouns.said(" ".join(how)), "mind": nouns.said(" ".join(mind)), "answer": nouns.answer,
        "document": nouns.document, "aria": nouns.said("Tokens by layer"),
    }  # fmt: skip
    escaped = {name: html.safe(text) for name, text in holes.items()}
    return html.fill(html.asset("heatmap.html"), escaped)


_TABLE = (
    "One column a position, one row a layer, the output at the top. A cell holds the {answer} that the "
    "chosen rank has at that layer."
)
_CARDS = (
    "One card a document, one row a layer, the output at the top: what the chosen rank holds after that "
    "layer. The narrow columns are the ranks, each coloured from the layer on from which it is fixed."
)
_ALONG = "The waveform above the columns shares their time."
_ABOVE = "The waveform of the recording stands above."
_KEYS = "tap it, or move with the arrow keys to see the whole ranking there."
_MIND = (
    "these are a few documents out of the corpus, not a sample to count in, and the logit lens reads early "
    'layers badly, so an unlikely token there is no sign that the model "thinks" it.'
)
_LOUD = "The waveforms share one scale."
_FILES = "Pictures are shown as their files hold them; the model reads them resized and cropped."


def _shown(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The picture, the waveform and the text of a document, checked."""
    shown, wrong = {}, []
    for key, rule in (("picture", _PICTURE), ("wave", _WAVE), ("text", {"type": "string"})):
        value = entry.get(key)
        if value is None:
            continue
        found = problems(value, rule, key) or list(_unfit(key, value))
        wrong += found
        if not found:
            shown[key] = value if key == "text" else value | {"alt": _line(value["alt"])}
    if wrong:
        raise InputError(f"Heatmap document {entry['doc']}: {'; '.join(wrong[:3])}.")
    if "text" in shown:
        shown["text"] = _line(shown["text"])
    return shown


def _unfit(key: str, value: Any) -> Iterator[str]:
    """What the form alone does not tell."""
    if key == "picture":
        url = value["src"]
        if len(url) > _LONGEST or not _DATA_URL.fullmatch(url):
            yield f"picture.src is no PNG or JPEG as a data URL of at most {_LONGEST:,} characters"
    if key == "wave":
        for name in ("seconds", "read", "frame"):
            if value.get(name, 1) <= 0:
                yield f"wave.{name} is {value[name]}, not above 0"
        if any(low > high for low, high in value["peaks"]):
            yield "wave.peaks has a low above its high"


def _line(text: str) -> str:
    """Everything in a text to be seen, its spaces as spaces."""
    return visible(text).replace("·", " ")
