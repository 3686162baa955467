"""Pieces of HTML for the page: escaped once, where they are made.

Everything that comes from a text or a model goes through `safe`; a template's holes are filled in one
pass, so that what is put in is never looked at for holes again.
"""

import base64
import functools
import gzip
import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from satlens.errors import MissingExtraError
from satlens.report.chart import Caption
from satlens.report.table import Table
from satlens.report.words import number, visible


def safe(value: Any) -> str:
    """Text for HTML: escaped; control characters and lone surrogates shown as their codes."""
    return html.escape("".join(c if c == " " else visible(c) for c in str(value)))


def script_json(value: Any) -> str:
    r"""JSON that cannot end or open a script element: ``<`` is written as its code, text is ASCII.

    Numbers keep five digits, more than a pixel shows; the exact ones are in results.json.

    >>> script_json({"a": [0.123456789, 1e-9], "b": "</script>"})
    '{"a":[0.12346,1e-09],"b":"\\u003c/script>"}'
    """
    text = json.dumps(_short(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value


def fill(template: str, holes: Mapping[str, str]) -> str:
    """Put every hole in, in one pass."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: holes[found.group(1)], template)


def asset(name: str) -> str:
    """The text of a file of the page's templates, styles and scripts."""
    return text_of("assets", name)


def text_of(folder: str, name: str) -> str:
    """The text of a file of `satlens/report`: a verb has a ``section.html``, its frame."""
    return resources.files("satlens.report").joinpath(folder, name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """The charting library, packed (gzip, base64): 2 MB in place of 4.8; the page unpacks it itself."""
    try:
        script = resources.files("plotly").joinpath("package_data", "plotly.min.js")
    except ImportError as error:
        raise MissingExtraError(
            "The report page carries plotly's JavaScript, and plotly is not installed: "
            "pip install 'plotly>=6'"
        ) from error
    return _packed(script)


@functools.cache
def _packed(script: Traversable) -> str:
    """Without a date, so that the same results give the same page; kept for the next page."""
    return base64.b64encode(gzip.compress(script.read_bytes(), mtime=0)).decode()


def figure(name: str, caption: Caption, size: str) -> str:
    """A chart's place with its caption; ``size`` says how much is behind it."""
    return (
        f'<figure><h3>{caption.title}</h3><div class="plot" data-chart="{name}" role="img" '
        f'aria-label="{safe(caption.title)}. {safe(caption.read)}"></div><figcaption>{safe(caption.read)} '
        f"<b>How it can mislead:</b> {safe(caption.mind)} {safe(size)}</figcaption></figure>"
    )


def missing_figure(caption: Caption, why: str) -> str:
    """The sentence that stands where a chart cannot be drawn."""
    return f"<figure><h3>{caption.title}</h3>{missing(why)}</figure>"


def missing(why: str) -> str:
    """A sentence in place of what is not there."""
    return f'<p class="missing">{safe(why)}</p>'


def table(made: Table, note: bool = True) -> str:
    """A table that scrolls by itself, with its note below; nothing where it has no rows."""
    if not made.rows:
        return ""
    below = f'<p class="read">{safe(made.note)}</p>' if note and made.note else ""
    return f'<div class="scroll">{made.html()}</div>{below}'


def pairs(facts: Mapping[str, Any]) -> str:
    """Names and values, as the inside of a list of facts."""
    return "".join(f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in facts.items())


def meanings(
    title: str, names: Iterable[str], words: Mapping[str, str], meaning: Mapping[str, str]
) -> str:
    """What each null or control is, one a line; nothing where there is none."""
    rows = "".join(
        f"<div><dt>{safe(words[name])}</dt><dd>{safe(meaning[name])}</dd></div>" for name in names
    )
    return f'<h3>{safe(title)}</h3><dl class="null-list">{rows}</dl>' if rows else ""


def between(entry: Mapping[str, Any], digits: int, sign: bool = False) -> str:
    """The interval of an estimate in words."""
    ends = entry.get("ci")
    if not ends:
        return "(no interval)"
    return f"({number(ends[0], digits, sign)} to {number(ends[1], digits, sign)})"


def effect_tile(
    verdict: Mapping[str, Any] | None, words: str, names: Mapping[str, str]
) -> tuple[str, str]:
    """The effect that a verdict was taken on, with its interval and what it is held against."""
    effect = {} if verdict is None else verdict["effect"]
    null = "a control" if verdict is None else names.get(verdict["null"], "the controls")
    said = between(effect, 3, sign=True)
    return number(effect.get("value"), 3, sign=True), f"{words}, beyond {null} {said}"
