"""The report as one page: `write_page(results, heatmap, path)` makes a file that opens offline.

The page has a part for each verb whose results it is given, in the order of `SECTIONS`. Nothing is
computed here and nothing is asked of the network: styles, script, numbers and the charting library
are inside the file, and its own content security policy forbids any request.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from satlens.errors import InputError
from satlens.files import write_whole
from satlens.report import heatmap, html
from satlens.report.audit import section as audit_section
from satlens.report.chart import Caption
from satlens.report.claims import section as claims_section
from satlens.report.depth import section as depth_section
from satlens.report.dynamics import section as dynamics_section
from satlens.report.exits import section as exits_section
from satlens.report.html import safe
from satlens.report.nouns import Nouns
from satlens.report.palette import CELLS, INK, LINES, rank_colors
from satlens.report.patch import section as patch_section
from satlens.report.probe import section as probe_section
from satlens.report.rerank import section as rerank_section
from satlens.report.route import section as route_section
from satlens.report.shortcut import section as shortcut_section
from satlens.report.validate import VERBS, plain, verb_of
from satlens.report.words import count, estimate, known, null_name, number, p_value

SECTIONS: dict[str, ModuleType] = {
    "claims": claims_section,
    "audit": audit_section, "probe": probe_section, "patch": patch_section,
    "shortcut": shortcut_section, "exits": exits_section, "rerank": rerank_section,
    "depth": depth_section, "route": route_section, "dynamics": dynamics_section,
}  # fmt: skip
"""What the page says of each verb, in the order of the page."""

_TONES = {"holds": ("good", "✓"), "holds as published only": ("part", "◐"),
          "does not hold": ("bad", "✕"), "cannot be told here": ("unsure", "?")}  # fmt: skip

Results = Mapping[str, Any]
Parts = dict[str, Results]


def write_page(
    results: Results | Sequence[Results],
    heatmap: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
) -> Path:
    """Write the report page, complete or not at all; returns its path.

    Args:
        results: what results.json holds (see `VERB/schema.json`), of one verb or of several run on one model;
            what is missing in them is named on the page.
        heatmap: documents for the token heatmap (see `satlens.report.heatmap.document`); a handful of
            documents of about 60 positions.
        path: the file to write.

    Raises:
        InputError: results of no verb, of one verb twice or of two models; a heatmap document whose
            parts do not fit together.
        MissingExtraError: plotly, whose JavaScript the page carries, is not installed.
        OutputError: the file cannot be written.
    """
    return write_whole(path, page_text(results, heatmap))


def page_text(
    results: Results | Sequence[Results], heatmap_documents: Sequence[Mapping[str, Any]]
) -> str:
    """The page as text; see `write_page`."""
    parts = _parts([results] if isinstance(results, Mapping) else results)
    labels = "audit" in parts and _nouns("audit", parts["audit"]).answer == "label"
    documents = [heatmap.document(entry, labels) for entry in heatmap_documents if "audit" in parts]
    charts, fragments = {}, []
    for verb, found in parts.items():
        drawn = {name: _nouns(verb, found).deep(chart)
                 for name, draw in SECTIONS[verb].CHARTS.items() if (chart := draw(found))}  # fmt: skip
        charts |= drawn
        fragments.append(_fragment(verb, found, drawn, documents, len(parts) > 1))
    colors = max(1, *(SECTIONS[verb].ranks(found) for verb, found in parts.items()))
    holes = _head(parts) | _asked(parts) | {
        "verdicts": _verdicts(parts), "parts": "".join(fragments), "notes": _notes(parts),
        "charts": html.script_json(charts), "documents": html.script_json(documents),
        "css": html.fill(html.asset("page.css"), {theme: _variables(theme, colors) for theme in INK}),
        "js": html.asset("heatmap.js") + html.asset("page.js"), "plotly": html.plotly_script(),
    }  # fmt: skip
    return html.fill(html.asset("page.html"), holes)


def _parts(every: Sequence[Results]) -> Parts:
    """The results by verb, in the order of the page."""
    found = [(verb_of(results), plain(results)) for results in every]
    verbs = [verb for verb, _ in found]
    models = {results["model"]["weights_sha256"]: results["model"]["name"] for _, results in found}
    if not found or len(set(verbs)) < len(verbs) or len(models) > 1:
        names = ", ".join(f"{name} ({str(sha)[:12]})" for sha, name in models.items())
        raise InputError(
            f"A page is made of at most one result of each verb, all of one model; got "
            f"{', '.join(verbs) or 'none'} of {names or 'no model'}."
        )
    return {verb: dict(found)[verb] for verb in VERBS.values() if verb in verbs}


def _nouns(verb: str, results: Results) -> Nouns:
    """The words for what was read; the other verbs say document and token for every kind of model."""
    return Nouns.of(results["corpus"]) if verb in ("audit", "depth") else Nouns()


def _fragment(
    verb: str,
    results: Results,
    drawn: Mapping[str, Any],
    documents: Sequence[Mapping[str, Any]],
    named: bool,
) -> str:
    """The evidence of one part: its charts in their places, or the sentence why they are not there."""
    section, nouns = SECTIONS[verb], _nouns(verb, results)
    holes = section.holes(results)
    for name, words in section.CAPTIONS.items():
        caption = Caption(*map(nouns.said, words))
        holes[name] = (
            html.figure(name, caption, section.size(results, name)) if name in drawn
            else html.missing_figure(caption, section.MISSING[name])
        )  # fmt: skip
    if verb == "audit":
        why = nouns.said(section.MISSING["heatmap"])
        holes["heatmap"] = heatmap.frame(documents, nouns) if documents else html.missing(why)
    title = f'<p class="kicker part">{safe(section.NAME)}</p>' if named else ""
    return f'<div id="{verb}">{title}{html.fill(html.text_of(verb, "section.html"), holes)}</div>'


def _head(parts: Parts) -> dict[str, str]:
    """Title, the numbers to leave with, and the way through the page where it has several parts."""
    first = next(iter(parts.values()))
    model, corpus = first["model"], first["corpus"]
    sizes = Nouns.of(corpus).counted(corpus["tokens"], corpus["documents"])
    lead = (f"{count(model['n_layers'], 'layer')} of width {model['d_model']:,}, read on {corpus['name']}: "
            f"{', '.join(sizes[::-1])}.")  # fmt: skip
    if len(_corpora(parts)) > 1:
        lead += " The parts of this page read different texts: see below."
    made = [tile for verb, found in parts.items() for tile in SECTIONS[verb].tiles(found)]
    links = {"asked": "What was asked", "verdicts": "Verdicts"}
    links |= {verb: SECTIONS[verb].NAME for verb in parts}
    links |= {"notes": "Notes"} if any(found["notes"] for found in parts.values()) else {}
    shown = "".join(f'<a href="#{place}">{safe(words)}</a>' for place, words in links.items())
    tiles = "".join(
        f'<div class="tile"><b>{safe(b)}</b><small>{safe(s)}</small></div>' for b, s in made
    )
    return {
        "title": safe(f"{model['name']}: satlens {', '.join(parts)}"), "model": safe(model["name"]),
        "lead": safe(lead), "kicker": safe(f"satlens {' · '.join(parts)}"),
        "version": safe(first["versions"]["satlens"]),
        "tiles": tiles,
        "nav": f'<nav aria-label="Parts of this page">{shown}</nav>' if len(parts) > 1 else "",
        "files": safe("; ".join(_nouns(verb, found).said(SECTIONS[verb].FILES)
                                for verb, found in parts.items())),
    }  # fmt: skip


def _asked(parts: Parts) -> dict[str, str]:
    """The questions, the model and the texts, and how to repeat the runs."""
    first = next(iter(parts.values()))
    model, nouns = first["model"], Nouns.of(first["corpus"])
    last = model["n_layers"] - 1
    questions = "".join(
        f"<p><b>{safe(SECTIONS[verb].NAME)}.</b> {safe(SECTIONS[verb].QUESTION)}</p>"
        for verb in parts
    )
    repeat = [
        f"satlens {verb} --from {'' if verb == 'audit' else verb + '/'}settings.yaml --out runs/again"
        for verb in parts
    ]
    details = "".join(
        f"<details><summary>Settings, versions and times of the {verb}</summary>"
        f'<dl class="facts">{html.pairs(_settings(found))}</dl></details>'
        for verb, found in parts.items()
    )
    return {
        "last": str(last), "before": str(last - 1), "questions": questions,
        "answer": nouns.answer, "nouns": safe(nouns.sentence()),
        "facts": html.pairs(_model_facts(model) | _text_facts(parts)),
        "repeat": "\n".join(map(safe, repeat)), "settings": details,
    }  # fmt: skip


def _model_facts(model: Mapping[str, Any]) -> dict[str, Any]:
    parameters = f"{model['parameters']:,}" if known(model["parameters"]) else "not available"
    return {
        "model": model["name"], "run as": model["kind"], "layers": model["n_layers"],
        "width": f"{model['d_model']:,}", "outputs": f"{model['n_outputs']:,}", "parameters": parameters,
        "numbers": model["dtype"], "weights, sha256": (model["weights_sha256"] or "not available")[:12],
    }  # fmt: skip


def _corpora(parts: Parts) -> list[tuple[list[str], Mapping[str, Any]]]:
    """The texts that were read, and the parts that read each."""
    found: list[tuple[list[str], Mapping[str, Any]]] = []
    for verb, results in parts.items():
        same = [verbs for verbs, corpus in found if corpus == results["corpus"]]
        if same:
            same[0].append(verb)
        else:
            found.append(([verb], results["corpus"]))
    return found


def _text_facts(parts: Parts) -> dict[str, Any]:
    """What was read; by part where the parts read different texts."""
    facts = {}
    every = _corpora(parts)
    for verbs, corpus in every:
        of = f", {' and '.join(verbs)}" if len(every) > 1 else ""
        split = f" ({corpus['split_documents']:,} split)" if corpus["split_documents"] else ""
        nouns = Nouns.of(corpus)
        facts |= {
            f"corpus{of}": corpus["name"],
            f"{nouns.document}s{of}": f"{corpus['documents']:,}{split}",
        }
        if nouns.position != nouns.document:
            facts |= {f"windows{of}": f"{corpus['windows']:,}",
                      f"{nouns.position}s{of}": f"{corpus['tokens']:,}"}  # fmt: skip
        what = "text" if nouns.document == "document" else f"{nouns.document}s"
        facts |= {f"{what}, sha256{of}": (corpus["sha256"] or "not available")[:12]}
    return facts


def _settings(results: Results) -> dict[str, Any]:
    seconds = {f"seconds, {name}": number(value, 1) for name, value in results["seconds"].items()}
    settings = {name: _setting(value) for name, value in results["settings"].items()}
    return {**settings, **results["versions"], **seconds}


def _setting(value: Any) -> str:
    """A setting in words: what was left to satlens, and lists, as a reader says them."""
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _verdicts(parts: Parts) -> str:
    """The verdicts of all parts, each under the name of its part where there are several.

    Claims are judged from the other parts: theirs come first, and the others can be opened.
    """
    made = {}
    for verb, results in parts.items():
        shown = "".join(map(_verdict, results["verdicts"]))
        title = f"<h3>{safe(SECTIONS[verb].NAME)}</h3>" if len(parts) > 1 else ""
        made[verb] = title + (shown or html.missing("No verdict could be given in this run."))
    claims, rest = made.pop("claims", ""), "".join(made.values())
    if claims and rest:
        rest = f"<details><summary>Verdicts of each part</summary>{rest}</details>"
    return claims + rest


def _verdict(verdict: Mapping[str, Any]) -> str:
    tone, mark = _TONES[verdict["verdict"]]
    effect = verdict["effect"]
    numbers = [f"{effect['name']} {estimate(effect['value'], effect['ci'], 3)}"]
    numbers += [f"null: {null_name(verdict)}"] if verdict.get("null") else []
    numbers += [f"p {p_value(verdict['p'])}"] if known(verdict["p"]) else []
    return (
        f'<article class="verdict {tone}" id="verdict-{safe(verdict["id"])}">'
        f'<p class="chip">{mark} {safe(verdict["verdict"])}</p>'
        f'<p class="say">{safe(verdict["statement"])}</p>'
        f'<p class="numbers">{safe(" · ".join(numbers))}</p>'
        f'<p class="why">{safe(verdict["why"])}</p></article>'
    )


def _notes(parts: Parts) -> str:
    """The notes of all parts, each under the name of its part where there are several."""
    made = []
    for verb, results in parts.items():
        if results["notes"]:
            title = f"<h3>{safe(SECTIONS[verb].NAME)}</h3>" if len(parts) > 1 else ""
            items = "".join(f"<li>{safe(note)}</li>" for note in results["notes"])
            made.append(f"{title}<ul>{items}</ul>")
    return f'<section id="notes"><h2>Notes</h2>{"".join(made)}</section>' if made else ""


def _variables(theme: str, k: int) -> str:
    names = INK[theme] | CELLS[theme]
    names |= {f"rank-{i + 1}": color for i, color in enumerate(rank_colors(k, theme))}
    names |= {f"series-{i + 1}": color for i, color in enumerate(LINES[theme])}
    return " ".join(f"--{name}: {color};" for name, color in names.items())
