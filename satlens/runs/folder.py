"""The folder of a model's runs: an audit, a probe, a patch ..., any of them, and one page over all.

    DIR/report.html                                                    the page, made from the folder alone
    DIR/{results.json, events.parquet, settings.yaml, heatmap.json, figures/}      an audit
    DIR/probe/{results.json, settings.yaml, probe.safetensors, probe.json, figures/}
    DIR/patch/{results.json, settings.yaml, effects.parquet, figures/}
    DIR/shortcut/{results.json, settings.yaml, {shortcut,tuned}.{safetensors,json}, figures/}
    DIR/exits/{results.json, settings.yaml, policies.parquet, figures/}
    DIR/rerank/{results.json, settings.yaml, reranker.safetensors, reranker.json, tokens.parquet, figures/}
    DIR/depth/{results.json, settings.yaml, figures/}
    DIR/route/{results.json, settings.yaml, gates.safetensors, gates.json, figures/}
    DIR/claims/{results.json, settings.yaml, claims.md}
    DIR/dynamics/{results.json, settings.yaml, figures/}
    DIR/studies/NAME.json                                              what claims rest on beside these parts

A part is added, or replaced when told, by a whole new folder that takes the old one's place: on an error or
Ctrl-C the old one is as it was.
"""

import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from satlens.errors import InputError, OutputError
from satlens.report.page import write_page
from satlens.report.validate import VERBS, read_results
from satlens.runs.settings import RunSettings

PAGE, SETTINGS_FILE, RESULTS, HEATMAP = (
    "report.html",
    "settings.yaml",
    "results.json",
    "heatmap.json",
)
FILES = {
    "audit": {SETTINGS_FILE, RESULTS, "events.parquet", HEATMAP, "figures"},
    "probe": {SETTINGS_FILE, RESULTS, "probe.safetensors", "probe.json", "figures"},
    "patch": {SETTINGS_FILE, RESULTS, "effects.parquet", "figures"},
    "shortcut": {
        SETTINGS_FILE,
        RESULTS,
        "shortcut.safetensors",
        "shortcut.json",
        "tuned.safetensors",
        "tuned.json",
        "figures",
    },
    "exits": {SETTINGS_FILE, RESULTS, "policies.parquet", "figures"},
    "rerank": {
        SETTINGS_FILE,
        RESULTS,
        "reranker.safetensors",
        "reranker.json",
        "tokens.parquet",
        "figures",
    },
    "claims": {SETTINGS_FILE, RESULTS, "claims.md"},
    "depth": {SETTINGS_FILE, RESULTS, "figures"},
    "route": {SETTINGS_FILE, RESULTS, "gates.safetensors", "gates.json", "figures"},
    "dynamics": {SETTINGS_FILE, RESULTS, "figures"},
}
"""What each part holds; a folder with anything else is never written to."""
STUDIES = "studies"
NESTED = tuple(verb for verb in FILES if verb != "audit")
"""Parts in a folder of their own; an audit lies in the run's folder itself."""


def place(out: Path, verb: str) -> Path:
    """The folder of a part."""
    return out / verb if verb in NESTED else out


def parts(out: Path) -> list[str]:
    """The verbs whose runs a folder holds, in the order of the page."""
    return [verb for verb in VERBS.values() if (place(out, verb) / SETTINGS_FILE).is_file()]


def check_output(out: Path, settings: RunSettings, overwrite: bool) -> None:
    """Refuse, before anything is computed, a place that must not be written to."""
    if out.is_file():
        raise OutputError(f"--out {out} is a file; satlens {settings.verb} writes a folder.")
    foreign = _foreign(out)
    if foreign:
        raise OutputError(
            f"--out {out} holds files that satlens does not write ({', '.join(foreign[:5])}); give "
            "another folder."
        )
    if settings.verb in parts(out) and not overwrite:
        there = place(out, settings.verb)
        same = type(settings).read(there / SETTINGS_FILE) == settings
        raise OutputError(
            f"--out {there} holds {'this run already' if same else 'a run with other settings'}; "
            "give another folder, or --overwrite to replace it."
        )


def check_model(out: Path, verb: str, model: Mapping[str, Any]) -> None:
    """Refuse a folder whose other parts are of another model: one page tells of one model."""
    for other in parts(out):
        if other == verb:
            continue
        found = _model_of(place(out, other) / RESULTS)
        if found["weights_sha256"] != model["weights_sha256"]:
            raise OutputError(
                f"--out {out} holds satlens {other} of {_named(found)}; satlens {verb} is asked about "
                f"{_named(model)}. One folder is of one model: give another folder."
            )


@contextmanager
def output_folder(
    out: str | Path, settings: RunSettings, overwrite: bool, model: Mapping[str, Any]
) -> Generator[Path, None, None]:
    """A folder to fill with one part, beside ``out``; it takes its place when everything is in it.

    The other parts of ``out`` are kept, and the page is made anew over all of them. On an error or Ctrl-C
    the folder beside is removed and ``out`` is as it was.
    """
    out = Path(out).absolute()
    check_output(out, settings, overwrite)
    check_model(out, settings.verb, model)
    # A name for each verb: two verbs may work for one folder at the same time.
    beside, before = (
        out.with_name(f".{out.name}.{settings.verb}.{end}") for end in ("part", "old")
    )
    shutil.rmtree(beside, ignore_errors=True)  # left by a killed run
    try:
        folder = place(beside, settings.verb)
        folder.mkdir(parents=True)
        yield folder
        (folder / SETTINGS_FILE).write_text(settings.to_yaml(), encoding="utf-8")
        check_output(out, settings, overwrite)  # it may have been filled meanwhile
        check_model(out, settings.verb, model)
        _keep_others(out, beside, settings.verb)
        write_report(beside)
        _swap(beside, out, before)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"Could not write the run to {out}: {error.strerror or error}."
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_report(out: str | Path) -> Path:
    """The page over everything that a folder holds, made from the folder alone; returns its path.

    Raises:
        InputError: the folder holds no run, or files that are not as a run writes them.
        OutputError: the page cannot be written.
    """
    out = Path(out)
    results = [read_results(place(out, verb) / RESULTS) for verb in parts(out)]
    if not results:
        raise InputError(
            f"{out} holds no run: no {SETTINGS_FILE} in it, or in {'/, '.join(NESTED)}/."
        )
    return write_page(results, _heatmap(out / HEATMAP), out / PAGE)


def _heatmap(path: Path) -> list[dict[str, Any]]:
    """The documents of the token heatmap; none where there is no audit, or one of an older version."""
    if not path.exists():
        return []
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Could not read the heatmap's documents from {path}: {error}.") from error


def _foreign(out: Path) -> list[str]:
    """Names in a folder that are not of a run, or look like a part but have no settings."""
    if not out.is_dir():
        return []
    found = {path.name for path in out.iterdir()}
    there = parts(out)
    wrong = found - FILES["audit"] - set(NESTED) - {PAGE, STUDIES}
    if "audit" not in there:
        wrong |= found & FILES["audit"]
    if not there:
        wrong |= found & {PAGE}
    for verb in found & set(NESTED):
        inside = {path.name for path in (out / verb).iterdir()} if (out / verb).is_dir() else set()
        strange = inside - FILES[verb]
        wrong |= {f"{verb}/{name}" for name in strange} if verb in there else {verb}
    return sorted(wrong)


def _keep_others(out: Path, beside: Path, verb: str) -> None:
    """Everything of the other parts into the new folder; a file is linked where that can be done."""
    if not out.is_dir():
        return
    own = {verb} if verb in NESTED else FILES[verb]
    for path in out.iterdir():
        if path.name in own | {PAGE}:
            continue
        if path.is_dir():
            shutil.copytree(path, beside / path.name, copy_function=_link)
        else:
            _link(path, beside / path.name)


def _link(source: str | Path, target: str | Path) -> None:
    """The same file under another name: files of a run are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _swap(beside: Path, out: Path, before: Path) -> None:
    """The new folder in the place of the old one."""
    there = out.exists()
    if there:
        shutil.rmtree(before, ignore_errors=True)  # left by a run killed after it was replaced
    try:
        if there:
            out.rename(before)
        beside.rename(out)
    except BaseException:  # Ctrl-C between the two, too
        if there and not out.exists():
            before.rename(out)
        raise
    if there:
        shutil.rmtree(before, ignore_errors=True)


def _model_of(results: Path) -> Mapping[str, Any]:
    """The model that results are of, without looking through all of them."""
    try:
        found = json.loads(results.read_text(encoding="utf-8"))["model"]
        return {name: found[name] for name in ("name", "weights_sha256")}
    except (OSError, ValueError, KeyError, TypeError):
        return read_results(results)["model"]  # which says what is wrong


def _named(model: Mapping[str, Any]) -> str:
    return f"{model['name']} (weights {str(model['weights_sha256'])[:12]})"
