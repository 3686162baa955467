"""The folder of runs: parts appear whole, stand beside one another, and are of one model."""

import json
import os
import shutil

import pytest

from satlens.errors import InputError, OutputError
from satlens.report.validate import read_results, write_results
from satlens.runs import (
    AuditSettings,
    ClaimsSettings,
    DepthSettings,
    DynamicsSettings,
    ExitsSettings,
    PatchSettings,
    ProbeSettings,
    RerankSettings,
    RouteSettings,
    ShortcutSettings,
    write_report,
)
from satlens.runs.folder import HEATMAP, check_model, check_output, output_folder, parts, place
from tests.report.example import make_heatmap, make_results
from tests.report.example_claims import make_claims
from tests.report.example_depth import make_depth
from tests.report.example_dynamics import make_dynamics
from tests.report.example_exits import make_exits
from tests.report.example_parts import make_patch, make_probe
from tests.report.example_rerank import make_rerank
from tests.report.example_route import make_route
from tests.report.example_shortcut import make_shortcut

ASKED = {
    "claims": ClaimsSettings("tiny"),
    "audit": AuditSettings("tiny"), "probe": ProbeSettings("tiny"), "patch": PatchSettings("tiny"),
    "shortcut": ShortcutSettings("tiny"), "exits": ExitsSettings("tiny"), "rerank": RerankSettings("tiny"),
    "depth": DepthSettings("tiny"), "route": RouteSettings("tiny"),
    "dynamics": DynamicsSettings("tiny"),
}  # fmt: skip
MAKE = {"audit": make_results, "probe": make_probe, "patch": make_patch, "shortcut": make_shortcut,
        "exits": make_exits, "rerank": make_rerank, "depth": make_depth, "route": make_route,
        "dynamics": make_dynamics, "claims": make_claims}  # fmt: skip
OTHER = {"name": "big", "weights_sha256": "99" * 32}


def fill(out, verb, overwrite=False, note="", **model):
    """One part as a run writes it, of the model of the examples unless it is named."""
    results = MAKE[verb]()
    results["model"] |= model
    results["notes"] = [f"a {verb} {note}"]
    with output_folder(out, ASKED[verb], overwrite, results["model"]) as folder:
        write_results(results, folder / "results.json")
        if verb == "audit":
            (folder / HEATMAP).write_text(json.dumps(make_heatmap(docs=1)))
            (folder / "events.parquet").write_text("events")
        file = folder / one_file(verb)
        file.parent.mkdir(exist_ok=True)
        file.write_text(verb)


def one_file(verb):
    """A file of a part beside its results; claims have no figures."""
    return "claims.md" if verb == "claims" else "figures/one.png"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def everything(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of each part alone, and of "every" part: made once, to be copied with `start`."""
    folder = tmp_path_factory.mktemp("made")
    for verb in ASKED:
        fill(folder / verb, verb, note="old")
        fill(folder / "every", verb, note="old")
    return folder


def start(made, which, out):
    """Begin from one of the folders that are made once."""
    shutil.copytree(made / which, out)


ORDERS = [
    ("audit",), ("probe",), ("patch", "audit"), ("probe", "patch"), ("audit", "probe", "patch"),
    ("patch", "probe", "audit"), ("rerank", "audit"), ("rerank",),
    ("audit", "shortcut", "rerank"), ("shortcut",),
    ("exits",), ("audit", "exits", "rerank"), ("depth",), ("audit", "depth"), ("route", "depth"),
    ("dynamics",), ("dynamics", "audit"), ("claims",), ("audit", "claims"),
]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_any_parts_in_any_order_make_one_page(tmp_path, order):
    out = tmp_path / "run"
    for verb in order:
        fill(out, verb)
        assert f"a {verb}" in (out / "report.html").read_text()
    page = (out / "report.html").read_text()
    assert names(tmp_path) == ["run"]
    assert parts(out) == [verb for verb in ASKED if verb in order]
    for verb in order:
        assert f"a {verb}" in page
        assert (place(out, verb) / one_file(verb)).read_text() == verb
        assert ASKED[verb] == type(ASKED[verb]).read(place(out, verb) / "settings.yaml")
    assert ('id="heatmap"' in page) == ("audit" in order)


def test_the_page_is_made_from_the_folder_alone(tmp_path, made):
    page = (made / "every" / "report.html").read_text()
    start(made, "every", tmp_path / "moved")
    (tmp_path / "moved" / "report.html").unlink()
    write_report(tmp_path / "moved")
    assert (tmp_path / "moved" / "report.html").read_text() == page
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no run"):
        write_report(tmp_path / "empty")


def test_an_audit_without_its_heatmap_still_makes_a_page(tmp_path):
    fill(tmp_path / "run", "audit")
    (tmp_path / "run" / HEATMAP).unlink()
    fill(tmp_path / "run", "probe")
    assert "No document was kept" in (tmp_path / "run" / "report.html").read_text()
    (tmp_path / "run" / HEATMAP).write_text("[{")
    with pytest.raises(InputError, match="Could not read the heatmap's documents"):
        write_report(tmp_path / "run")


@pytest.mark.parametrize("verb", ASKED)
def test_a_part_is_replaced_only_when_told_and_keeps_the_others(tmp_path, made, verb):
    out = tmp_path / "run"
    start(made, "every", out)
    old = {"claims.md"} if verb == "claims" else {"figures/two.png"}
    for name in old:
        (place(out, verb) / name).write_text("left over")
    before = everything(out)
    with pytest.raises(OutputError, match="holds this run already; .* --overwrite"):
        fill(out, verb, note="new")
    assert everything(out) == before
    with pytest.raises(OutputError, match="holds a run with other settings"):
        check_output(out, type(ASKED[verb])("tiny", k=2), overwrite=False)
    fill(out, verb, overwrite=True, note="new")
    page, after = (out / "report.html").read_text(), everything(out)
    for other in ASKED:
        assert (f"a {other} new" in page) == (other == verb)
        assert (f"a {other} old" in page) == (other != verb)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    folder = "" if verb == "audit" else f"{verb}/"
    assert changed == {"report.html", f"{folder}results.json", *(f"{folder}{name}" for name in old)}
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("verb", ASKED)
@pytest.mark.parametrize("other", ASKED)
def test_all_parts_are_of_one_model(tmp_path, made, verb, other):
    out = tmp_path / "run"
    start(made, other, out)
    before = everything(out)
    if verb == other:  # nothing else is there, so the model may change
        fill(out, verb, overwrite=True, **OTHER)
        assert read_results(place(out, verb) / "results.json")["model"]["name"] == "big"
        return
    said = (
        rf"satlens {other} of tiny \(weights abababababab\); satlens {verb} .* big \(weights 9999"
    )
    with pytest.raises(OutputError, match=said):
        fill(out, verb, overwrite=True, **OTHER)
    with pytest.raises(OutputError, match=said):
        check_model(out, verb, OTHER)
    assert everything(out) == before and names(tmp_path) == ["run"]


@pytest.mark.parametrize("verb", ASKED)
@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError(28, "No space left")])
@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_fails_leaves_what_was(tmp_path, made, verb, error, there):
    out = tmp_path / "run"
    if there:
        start(made, "every", out)
    before = everything(tmp_path)
    with (
        pytest.raises((KeyboardInterrupt, InputError, OutputError)),
        output_folder(out, ASKED[verb], True, make_results()["model"]) as folder,
    ):
        (folder / "results.json").write_text("half")
        raise error
    assert everything(tmp_path) == before
    assert names(tmp_path) == (["run"] if there else [])


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_between_the_renames_leaves_what_was(tmp_path, monkeypatch, at):
    fill(tmp_path / "run", "audit")
    before = everything(tmp_path)
    rename, calls = type(tmp_path).rename, []

    def interrupted(self, target):
        calls.append(target)
        if len(calls) == at:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "run", "probe")
    assert everything(tmp_path) == before and names(tmp_path) == ["run"]


def test_a_page_that_cannot_be_made_leaves_what_was(tmp_path):
    fill(tmp_path / "run", "audit")
    (tmp_path / "run" / HEATMAP).write_text("no json")
    before = everything(tmp_path)
    with pytest.raises(InputError, match="Could not read the heatmap"):
        fill(tmp_path / "run", "probe")
    assert everything(tmp_path) == before and names(tmp_path) == ["run"]


def test_two_verbs_may_work_for_one_folder_at_the_same_time(tmp_path):
    out, model = tmp_path / "run", make_results()["model"]
    with output_folder(out, ASKED["probe"], False, model) as folder:
        write_results(make_probe(), folder / "results.json")
        fill(out, "patch")
    assert parts(out) == ["probe", "patch"]
    assert "satlens probe · patch" in (out / "report.html").read_text()


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    def refused(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    fill(tmp_path / "run", "audit")
    fill(tmp_path / "run", "patch")
    assert (tmp_path / "run" / "events.parquet").read_text() == "events"


STRANGE = {
    "a thesis": (["thesis.tex"], "thesis.tex"),
    "a thesis among the files of a run": (["settings.yaml", "thesis.tex"], "thesis.tex"),
    "figures of somebody": (["figures/one.png"], "figures"),
    "a page of somebody": (["report.html"], "report.html"),
    "a folder called probe": (["probe/notes.txt"], "probe"),
    "a file called patch": (["patch"], "patch"),
    "notes in a probe": (["probe/settings.yaml", "probe/notes.txt"], "probe/notes.txt"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("verb", ASKED)
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_run_is_never_touched(tmp_path, name, verb, overwrite):
    files, named = STRANGE[name]
    for file in files:
        path = tmp_path / "run" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ASKED["probe"].to_yaml() if "settings" in file else "years of work")
    before = everything(tmp_path)
    with pytest.raises(OutputError, match=rf"does not write \({named}\)"):
        fill(tmp_path / "run", verb, overwrite)
    assert everything(tmp_path) == before and names(tmp_path) == ["run"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match="is a file; satlens probe writes a folder"):
        fill(tmp_path / "run", "probe")
