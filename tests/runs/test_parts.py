"""`satlens probe`, `patch`, `shortcut`, `exits`, `rerank` on a small model: what they write and refuse."""

import html
import os
import shutil
import signal
import subprocess
import sys
import time

import jsonschema
import numpy as np
import pandas as pd
import pytest

import satlens
from satlens.cli import main
from satlens.report.validate import plain, schema
from satlens.runs import AuditSettings, PatchSettings, run_audit
from satlens.survey import read_corpus
from tests.runs.parts import RUN, WRITTEN, asked, direct, results_of, subject


@pytest.fixture(scope="module")
def runs(settling, corpus, tmp_path_factory):
    """A folder with every part of one model, and the tables that were printed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, {verb: RUN[verb](asked(verb, settling, corpus), out) for verb in RUN}


@pytest.mark.parametrize("verb", RUN)
def test_the_folder_holds_what_is_promised(runs, verb):
    out, texts = runs
    assert {path.name for path in out.iterdir()} == {"report.html", *RUN}
    assert {path.name for path in (out / verb).iterdir()} == WRITTEN[verb]
    assert len(list((out / verb / "figures").glob("*.png"))) >= (
        2 if verb in ("depth", "route", "dynamics") else 4
    )
    jsonschema.validate(results_of(out, verb), schema(verb))
    assert texts[verb].endswith(f"The page: {out / 'report.html'}")
    assert max(map(len, texts[verb].splitlines()[:-1])) <= 100
    page = (out / "report.html").read_text()
    for verdict in results_of(out, verb)["verdicts"]:
        assert (
            html.escape(verdict["statement"]) in page and verdict["verdict"].upper() in texts[verb]
        )


@pytest.mark.parametrize("verb", RUN)
def test_results_are_those_of_the_library(runs, settling, corpus, verb):
    results = results_of(runs[0], verb)
    assert results["corpus"]["documents"] == 6  # every window is read, so the texts are the same
    found = plain(direct(verb, settling, corpus, results).to_dict())
    for key in found.keys() - {"settings", "notes"}:
        assert results[key] == found[key], key
    assert set(found["notes"]) <= set(results["notes"])
    for name, value in found["settings"].items():
        assert name in results["settings"], (name, value)


def test_the_saved_probe_predicts(runs, settling, corpus):
    out, _ = runs
    probe = satlens.StageProbe.load(out / "probe" / "probe")
    labels = results_of(out, "probe")["labels"]
    assert probe.classes_.tolist() == list(range(1, labels["stages"] + 1))
    states = np.random.default_rng(0).normal(size=(7, 32)).astype(np.float32)
    assert set(probe.predict(states)) <= set(probe.classes_)


def test_the_long_table_holds_the_numbers(runs):
    out, _ = runs
    frame = pd.read_parquet(out / "patch" / "effects.parquet")
    paired = frame[(frame.condition == "paired") & (frame.outcome == "published")]
    given = results_of(out, "patch")["patching"]["conditions"]["paired"]["published"]
    assert paired["value"].tolist() == [one["value"] for one in given]
    assert paired["at"].tolist() == [-1, 0, 1]


def test_the_saved_reranker_and_every_position_are_those_of_the_results(runs):
    out, _ = runs
    results = results_of(out, "rerank")
    reranker = satlens.reranking.Reranker.load(out / "rerank" / "reranker")
    assert reranker.coef_.tolist() == results["reranker"]["weights"]["ranks"]
    frame = pd.read_parquet(out / "rerank" / "tokens.parquet")
    assert len(frame) == results["positions"]["positions"]
    assert (frame["next_rank"] != 1).sum() == results["positions"]["wrong"]
    assert -frame["next_logp"].mean() == pytest.approx(results["positions"]["loss"]["value"])
    assert list(frame)[-2:] == ["layer_4", "layer_5"]


def test_the_saved_lenses_are_those_of_the_results(runs, settling, corpus):
    out, _ = runs
    results, model = results_of(out, "shortcut"), satlens.wrap(satlens.load_model(settling))
    every = model.batches(list(read_corpus(corpus).documents), 8)
    test, _ = satlens.lenses.split_documents(every, 0.4)
    kinds = {"shortcut": satlens.LinearShortcut, "tuned": satlens.TunedLens}
    lenses = {name: kind.load(out / "shortcut" / name, model) for name, kind in kinds.items()}
    found = satlens.lenses.measure(model, test, lenses)
    for name, lens in lenses.items():
        given = results["lenses"][name]["test"]["precision@1"]["by_layer"]
        assert found.estimate(name, "precision@1").value.tolist() == [one["value"] for one in given]
        events = satlens.detect(model, test, k=3, lens=lens)
        mean = results["saturation"]["lenses"][name][0]["layer"]["value"]
        assert events.layer[:, 0].mean() == pytest.approx(mean)
    with pytest.raises(satlens.errors.InputError, match="is of the model calm"):
        satlens.LinearShortcut.load(out / "shortcut" / "shortcut", satlens.load_model("tiny"))


def test_the_table_of_policies_holds_the_points_of_the_results(runs):
    out, _ = runs
    results, frame = results_of(out, "exits"), pd.read_parquet(out / "exits" / "policies.parquet")
    assert set(frame.study) == set(results["studies"])
    for name, study in results["studies"].items():
        own = frame[frame.study == name].set_index(["policy", "threshold"])
        for point in study["points"]:
            row = own.loc[(point["policy"], point["threshold"])]
            assert row.agreement == point["agreement"]["value"]
            assert [row.compute_saved_low, row.compute_saved_high] == point["compute_saved"]["ci"]


@pytest.mark.parametrize("verb", RUN)
def test_a_run_repeats_from_its_settings(runs, tmp_path, verb, capsys):
    out, texts = runs
    settings = str(out / verb / "settings.yaml")
    assert main([verb, "--from", settings, "--out", str(tmp_path / "again")]) == 0
    printed = capsys.readouterr()
    again, results = results_of(tmp_path / "again", verb), results_of(out, verb)
    for key in results.keys() - {"seconds"}:
        assert again[key] == results[key], key
    assert printed.out.split("The page")[0] == texts[verb].split("The page")[0]
    assert "it/s" in printed.err or "%" in printed.err


def test_an_audit_joins_and_its_repetition_keeps_the_others(runs, settling, corpus, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs[0], out)
    audit = AuditSettings(
        str(settling), str(corpus), max_tokens=200, null_tokens=100, untrained_seeds=1
    )
    run_audit(audit, out)
    run_audit(audit, out, overwrite=True)
    page = (out / "report.html").read_text()
    assert (
        "satlens audit · probe · patch · shortcut · exits · rerank · depth · route · dynamics"
        in page
        and 'id="heatmap"' in page
    )
    assert "read different texts" in page
    for verb in RUN:
        assert results_of(out, verb) == results_of(runs[0], verb)


def test_the_arguments_reach_the_run(settling, corpus, tmp_path):
    arguments = [
        "patch", str(settling), "--corpus", str(corpus), "--out", str(tmp_path / "run"), "--k", "3",
        "--gap", "1", "--across", "False", "--offsets", "-1", "0", "--pairs", "6", "--alphas", "1",
        "-0.5", "--steered", "5", "--seed", "3", "--max-tokens", "700",
    ]  # fmt: skip
    assert main(arguments) == 0
    written = PatchSettings.read(tmp_path / "run" / "patch" / "settings.yaml")
    assert written == PatchSettings(
        str(settling), str(corpus), k=3, gap=1, across=False, offsets=(-1, 0), pairs=6,
        alphas=(1.0, -0.5), steered=5, seed=3, max_tokens=700,
    )  # fmt: skip
    results = results_of(tmp_path / "run", "patch")
    assert results["patching"]["offsets"] == [-1, 0] and results["pairs"]["across"] is False


@pytest.mark.parametrize(
    ("verb", "change", "message"),
    [
        ("probe", {"--corpus": "nowhere.txt"}, "No corpus at nowhere.txt"),
        ("probe", {"--k": "1"}, "k must be at least 2, got 1"),
        ("probe", {"--stages": "9"}, "stages must be 2 to k=5, got 9"),
        ("probe", {"--folds": "40"}, "40 folds need at least 40 documents"),
        ("probe", {"--min-states": "300"}, "300"),
        ("probe", {"MODEL": "./nowhere"}, "nowhere"),
        ("patch", {"--gap": "9"}, "gap must be 1 .. 5"),
        ("patch", {"--offsets": "3"}, "offsets must hold 0"),
        ("patch", {"--alphas": "2"}, "alphas must hold 1"),
        ("patch", {"--stage": "7"}, "stage"),
        ("patch", {"--k": "301"}, "k=301"),
        ("shortcut", {"--k": "301"}, "k=301"),
        ("shortcut", {"--rank": "33"}, "from 1 to the width of the states, 32; got 33"),
        ("shortcut", {"--test-share": "1.5"}, "between 0 and 1, got 1.5"),
        ("shortcut", {"--max-tokens": "30"}, "need at least two different ones"),
        ("shortcut", {"--ridge": "-1"}, "ridge must be a number of at least 0"),
        ("exits", {"--points": "1"}, "points must be at least 2, got 1"),
        ("exits", {"--test-share": "1.5"}, "between 0 and 1, got 1.5"),
        ("exits", {"--epsilons": "1.5"}, "epsilons must lie between 0 and 1, got 1.5"),
        ("exits", {"--delta": "0"}, "delta must lie between 0 and 1, got 0"),
        ("rerank", {"--k": "300"}, "k=300 leaves none of 300 outputs"),
        ("rerank", {"--gap": "6"}, "gap must be 1 .. 5 layers before the end, got 6"),
        ("rerank", {"--folds": "40"}, "40 folds need at least 40 documents"),
        ("rerank", {"--C": "0"}, "C must be above 0, got 0"),
        ("depth", {"--k": "301"}, "k=301"),
        ("route", {"--k": "301"}, "k=301"),
        ("route", {"--steps": "0"}, "steps must be at least 1, got 0"),
        ("route", {"--test-share": "1.5"}, "between 0 and 1, got 1.5"),
        ("dynamics", {"--k": "301"}, "k=301"),
        ("dynamics", {"--k": "1"}, "k must be at least 2, got 1"),
        ("dynamics", {"MODEL": "./nowhere"}, "./nowhere is no folder here"),
        ("dynamics", {"--revisions": "step0"}, "alone has revisions"),
        ("dynamics", {"--untrained-seeds": "2"}, "untrained_seeds must be 0 or 1, got 2"),
        ("depth", {"--untrained-seeds": "2"}, "untrained_seeds must be 0 or 1, got 2"),
    ],
)
def test_bad_requests_are_one_message_and_no_folder(
    settling, corpus, tmp_path, capsys, verb, change, message
):
    given = {
        "MODEL": str(subject(verb, settling)),
        "--corpus": str(corpus),
        "--out": str(tmp_path / "run"),
        **change,
    }
    arguments = [verb, given.pop("MODEL"), *(part for pair in given.items() for part in pair)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", RUN)
def test_a_folder_of_another_model_is_refused_before_anything_is_read(
    runs, folder, corpus, tmp_path, capsys, verb
):
    shutil.copytree(runs[0], tmp_path / "run")
    model = str(subject(verb, folder))
    arguments = [verb, model, "--corpus", str(corpus), "--out", str(tmp_path / "run")]
    assert main([*arguments, "--overwrite"]) == 2
    error = capsys.readouterr().err
    asked_about = "checkpoint-10" if verb == "dynamics" else "little"
    assert "of calm (weights" in error and f"{asked_about} (weights" in error
    assert main(["audit", str(folder), *arguments[2:]]) == 2
    assert "of calm (weights" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.one_host  # what is interrupted is satlens
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("verb", RUN)
def test_ctrl_c_leaves_the_folder_as_it_was(runs, tmp_path, verb):
    out = tmp_path / "run"
    shutil.copytree(runs[0], out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    settings = str(out / verb / "settings.yaml")
    code = "import sys; from satlens.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = [verb, "--from", settings, "--out", str(out), "--overwrite"]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob(f".run.{verb}.part/*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130, error.decode()
    assert "interrupted; nothing was written" in error.decode()
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert after == before and [path.name for path in tmp_path.iterdir()] == ["run"]
