"""The audit as one page: `write_page(results, heatmap, path)` makes a file that opens offline.

Nothing is computed here and nothing is asked of the network: styles, script, numbers and the
charting library are inside the file, and its own content security policy forbids any request.
Everything that comes from a text or a model is escaped, and put in once.
"""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from satlens.errors import InputError, MissingExtraError
from satlens.files import write_whole
from satlens.report import tables
from satlens.report.captions import CAPTIONS, CHARTS, MISSING
from satlens.report.palette import CELLS, INK, rank_colors
from satlens.report.validate import plain
from satlens.report.words import (
    NULL_MEANING,
    NULL_NAMES,
    count,
    estimate,
    known,
    number,
    p_value,
    part,
    visible,
)

_TONES = {"holds": ("good", "✓"), "holds as published only": ("part", "◐"),
          "does not hold": ("bad", "✕"), "cannot be told here": ("unsure", "?")}  # fmt: skip


def write_page(
    results: Mapping[str, Any], heatmap: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
) -> Path:
    """Write the report page, complete or not at all; returns its path.

    Args:
        results: what results.json holds (see `schema.json`); parts that are missing are named on the page.
        heatmap: documents for the token heatmap, each ``{"doc": int, "title": str, "tokens": [str per
            position], "top": [[[str] * k per layer] per position], "layer": [[s per rank] per
            position]}``; a handful of documents of about 60 positions.
        path: the file to write.

    Raises:
        InputError: a heatmap document whose parts do not fit together.
        MissingExtraError: plotly, whose JavaScript the page carries, is not installed.
        OutputError: the file cannot be written.
    """
    return write_whole(path, page_text(results, heatmap))


def page_text(results: Mapping[str, Any], heatmap: Sequence[Mapping[str, Any]]) -> str:
    """The page as text; see `write_page`."""
    results = plain(results)
    documents = [_document(entry) for entry in heatmap]
    charts = {name: chart for name, draw in CHARTS.items() if (chart := draw(results))}
    holes = _words(results) | _tables(results)
    holes |= {name: _figure(name, results, name in charts) for name in CHARTS}
    holes |= {
        "charts": _json(charts),
        "documents": _json(documents),
        "heatmap": _asset("heatmap.html") if documents else _missing("heatmap"),
        "css": _fill(
            _asset("page.css"), {theme: _variables(theme, _ranks(results)) for theme in INK}
        ),
        "js": _asset("page.js"),
        "plotly": _plotly(),
    }
    return _fill(_asset("page.html"), holes)


def _words(results: Mapping[str, Any]) -> dict[str, str]:
    model, corpus = results["model"], results["corpus"]
    last = model["n_layers"] - 1
    lead = (f"{count(model['n_layers'], 'layer')} of width {model['d_model']:,}, read on {corpus['name']}: "
            f"{count(corpus['documents'], 'document')}, {count(corpus['tokens'], 'token')}.")  # fmt: skip
    note = part(results, "order", "trained", "paper", "note")
    return {
        "title": _safe(f"{model['name']}: satlens audit"), "model": _safe(model["name"]), "lead": _safe(lead),
        "version": _safe(results["versions"]["satlens"]), "last": str(last), "before": str(last - 1),
        "tiles": _tiles(results), "facts": _facts(results), "settings": _settings(results),
        "verdicts": "".join(map(_verdict, results["verdicts"])) or _missing("verdicts"),
        "null_list": _null_list(results),
        "paper_note": f'<p class="read"><b>The statistic as published.</b> {_safe(note)}</p>' if note else "",
        "notes": _notes(results["notes"]), "coverage_note": _safe(tables.coverage_table(results).note),
    }  # fmt: skip


def _tables(results: Mapping[str, Any]) -> dict[str, str]:
    made = {
        "saturation_table": tables.saturation_table(results), "order_table": tables.order_table(results),
        "nulls_table": tables.nulls_table(results), "coverage_table": tables.coverage_table(results),
    }  # fmt: skip
    return {name: table.html() if table.rows else "" for name, table in made.items()}


def _tiles(results: Mapping[str, Any]) -> str:
    """The four numbers to leave with; each is read off, none is computed."""
    order = part(results, "order", "trained", "concordance") or {}
    over = [(null["excess"]["value"], name) for name in ("rotated", "exchanged")
            if (null := part(results, "nulls", name)) and known(null["excess"]["value"])]  # fmt: skip
    strict = part(results, "nulls", min(over)[1], "excess") if over else {}
    against = NULL_NAMES[min(over)[1]] if over else "a path null"
    ranks = part(results, "saturation", "trained", "ranks") or [{}]
    last = results["model"]["n_layers"] - 1
    made = (
        (number(order.get("value"), 3), f"concordance {_between(order, 3)}; 0.5 is no order"),
        (number(strict.get("value"), 3, sign=True),
         f"excess over {against} {_between(strict, 3, sign=True)}"),
        (f"{number(ranks[0].get('mean_layer'), 1)} of {last}",
         f"mean saturation layer of rank 1 {_between(ranks[0] | {'value': 0}, 1)}"),
        (number(part(ranks[-1], "censored", "value")),
         f"of tokens at rank {len(ranks)} are fixed only at the output (censored)"),
    )  # fmt: skip
    return "".join(
        f'<div class="tile"><b>{_safe(b)}</b><small>{_safe(s)}</small></div>' for b, s in made
    )


def _between(entry: Mapping[str, Any], digits: int, sign: bool = False) -> str:
    ends = entry.get("ci")
    return (
        f"({number(ends[0], digits, sign)} to {number(ends[1], digits, sign)})"
        if ends
        else "(no interval)"
    )


def _facts(results: Mapping[str, Any]) -> str:
    model, corpus = results["model"], results["corpus"]
    split = f" ({corpus['split_documents']:,} split)" if corpus["split_documents"] else ""
    parameters = f"{model['parameters']:,}" if known(model["parameters"]) else "not available"
    facts = {
        "model": model["name"], "run as": model["kind"], "layers": model["n_layers"],
        "width": f"{model['d_model']:,}",
        "outputs": f"{model['n_outputs']:,}", "parameters": parameters, "numbers": model["dtype"],
        "weights, sha256": (model["weights_sha256"] or "not available")[:12], "corpus": corpus["name"],
        "documents": f"{corpus['documents']:,}{split}", "windows": f"{corpus['windows']:,}",
        "tokens": f"{corpus['tokens']:,}", "text, sha256": (corpus["sha256"] or "not available")[:12],
        "ranks": _ranks(results),
    }  # fmt: skip
    return _pairs(facts)


def _settings(results: Mapping[str, Any]) -> str:
    seconds = {f"seconds, {name}": number(value, 1) for name, value in results["seconds"].items()}
    facts = {**results["settings"], **results["versions"], **seconds}
    return f'<dl class="facts">{_pairs(facts)}</dl>'


def _pairs(facts: Mapping[str, Any]) -> str:
    return "".join(f"<div><dt>{_safe(k)}</dt><dd>{_safe(v)}</dd></div>" for k, v in facts.items())


def _verdict(verdict: Mapping[str, Any]) -> str:
    tone, mark = _TONES[verdict["verdict"]]
    effect, against = verdict["effect"], verdict.get("null")
    numbers = [f"{effect['name']} {estimate(effect['value'], effect['ci'], 3)}"]
    numbers += [f"null: {NULL_NAMES.get(against, against)}"] if against else []
    numbers += [f"p {p_value(verdict['p'])}"] if known(verdict["p"]) else []
    return (
        f'<article class="verdict {tone}" id="verdict-{_safe(verdict["id"])}">'
        f'<p class="chip">{mark} {_safe(verdict["verdict"])}</p>'
        f'<p class="say">{_safe(verdict["statement"])}</p>'
        f'<p class="numbers">{_safe(" · ".join(numbers))}</p>'
        f'<p class="why">{_safe(verdict["why"])}</p></article>'
    )


def _null_list(results: Mapping[str, Any]) -> str:
    drawn = [name for name in NULL_NAMES if part(results, "nulls", name)]
    rows = (
        f"<div><dt>{NULL_NAMES[name]}</dt><dd>{NULL_MEANING[name]}</dd></div>" for name in drawn
    )
    return (
        f'<h3>What each null keeps</h3><dl class="null-list">{"".join(rows)}</dl>' if drawn else ""
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{_safe(note)}</li>" for note in notes)
    return f'<section id="notes"><h2>Notes</h2><ul>{items}</ul></section>' if notes else ""


def _figure(name: str, results: Mapping[str, Any], drawn: bool) -> str:
    """A chart's place with its caption, or the sentence that says why it is not there."""
    caption = CAPTIONS[name]
    if not drawn:
        return f"<figure><h3>{caption.title}</h3>{_missing(name)}</figure>"
    corpus = results["corpus"]
    size = f"{count(corpus['tokens'], 'token')}, {count(corpus['documents'], 'document')}."
    drawn_for = {null["tokens"] for null in results["nulls"].values() if null.get("tokens")}
    if name in ("concordance", "excess", "strict_tau") and drawn_for - {corpus["tokens"]}:
        size += f" Nulls drawn for {count(min(drawn_for), 'token')} of them."
    return (
        f'<figure><h3>{caption.title}</h3><div class="plot" data-chart="{name}" role="img" '
        f'aria-label="{_safe(caption.title)}. {_safe(caption.read)}"></div><figcaption>{_safe(caption.read)} '
        f"<b>How it can mislead:</b> {_safe(caption.mind)} {size}</figcaption></figure>"
    )


def _missing(name: str) -> str:
    return f'<p class="missing">{MISSING[name]}</p>'


def _document(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One heatmap document with its words listed once and everything in them made visible."""
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


def _ranks(results: Mapping[str, Any]) -> int:
    return max(1, len(part(results, "saturation", "trained", "ranks") or []))


def _variables(theme: str, k: int) -> str:
    names = INK[theme] | CELLS[theme]
    names |= {f"rank-{i + 1}": color for i, color in enumerate(rank_colors(k, theme))}
    return " ".join(f"--{name}: {color};" for name, color in names.items())


def _fill(template: str, holes: Mapping[str, str]) -> str:
    """Put every hole in, in one pass: what is put in is never looked at for holes again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: holes[found.group(1)], template)


def _safe(value: Any) -> str:
    """Text for HTML: escaped; control characters and lone surrogates shown as their codes."""
    return html.escape("".join(c if c == " " else visible(c) for c in str(value)))


def _json(value: Any) -> str:
    """JSON that cannot end or open a script element: ``<`` is written as its code, text is ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return resources.files("satlens.report").joinpath("assets", name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        script = resources.files("plotly").joinpath("package_data", "plotly.min.js")
    except ImportError as error:
        raise MissingExtraError(
            "The report page carries plotly's JavaScript, and plotly is not installed: "
            "pip install 'plotly>=6'"
        ) from error
    return script.read_text(encoding="utf-8").replace("</script", "<\\/script")
