"""`satlens probe`, `patch`, `shortcut`, `exits`, `rerank` on a small model: what they write and refuse."""

import dataclasses
import html
import json
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
from satlens.runs import (
    AuditSettings,
    DepthSettings,
    ExitsSettings,
    PatchSettings,
    ProbeSettings,
    RerankSettings,
    RouteSettings,
    ShortcutSettings,
    run_audit,
    run_depth,
    run_exits,
    run_patch,
    run_probe,
    run_rerank,
    run_route,
    run_shortcut,
)
from satlens.runs.folder import place
from satlens.saturation.detect import stream
from satlens.survey import read_corpus

PROBE = dict(max_tokens=600, min_states=8, per_cell=30, folds=2, draws=1)
PATCH = dict(
    max_tokens=600, pairs=20, steered=20, gap=1, alphas=(0.5, 1.0), offsets=(-1, 0, 1), across=True,
)  # fmt: skip
SHORTCUT = dict(
    max_tokens=600, k=3, rank=4, tuned_steps=2, submodule_tokens=60, submodule_layers=2, test_share=0.4,
)  # fmt: skip
EXITS = dict(
    max_tokens=600, points=3, fit_tokens=200, min_states=5, per_cell=30, epsilons=(0.5,), delta=0.5,
    untrained_seeds=0,
)  # fmt: skip
ROUTE = dict(max_tokens=600, steps=2, penalties=(0.3,), draws=1)
DEPTH = dict(max_tokens=600, draws=2)
RERANK = dict(max_tokens=600, folds=2, draws=1, null_tokens=100, shuffles=19)
WRITTEN = {
    "probe": {"results.json", "settings.yaml", "probe.safetensors", "probe.json", "figures"},
    "patch": {"results.json", "settings.yaml", "effects.parquet", "figures"},
    "shortcut": {"results.json", "settings.yaml", "shortcut.safetensors", "shortcut.json",
                 "tuned.safetensors", "tuned.json", "figures"},
    "exits": {"results.json", "settings.yaml", "policies.parquet", "figures"},
    "rerank": {"results.json", "settings.yaml", "reranker.safetensors", "reranker.json", "tokens.parquet",
               "figures"},
    "depth": {"results.json", "settings.yaml", "figures"},
    "route": {"results.json", "settings.yaml", "gates.safetensors", "gates.json", "figures"},
}  # fmt: skip
KINDS = {
    "probe": (ProbeSettings, PROBE), "patch": (PatchSettings, PATCH),
    "shortcut": (ShortcutSettings, SHORTCUT), "exits": (ExitsSettings, EXITS),
    "rerank": (RerankSettings, RERANK), "depth": (DepthSettings, DEPTH),
    "route": (RouteSettings, ROUTE),
}  # fmt: skip


def asked(verb, model, corpus, **change):
    kind, values = KINDS[verb]
    return kind(str(model), corpus=str(corpus), **(values | change))


RUN = {"probe": run_probe, "patch": run_patch, "shortcut": run_shortcut, "exits": run_exits,
       "rerank": run_rerank, "depth": run_depth, "route": run_route}  # fmt: skip


@pytest.fixture(scope="module")
def runs(settling, corpus, tmp_path_factory):
    """A folder with every part of one model, and the tables that were printed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, {verb: RUN[verb](asked(verb, settling, corpus), out) for verb in RUN}


def results_of(out, verb):
    return json.loads((place(out, verb) / "results.json").read_text())


@pytest.mark.parametrize("verb", RUN)
def test_the_folder_holds_what_is_promised(runs, verb):
    out, texts = runs
    assert {path.name for path in out.iterdir()} == {"report.html", *RUN}
    assert {path.name for path in (out / verb).iterdir()} == WRITTEN[verb]
    assert len(list((out / verb / "figures").glob("*.png"))) >= (
        2 if verb in ("depth", "route") else 4
    )
    jsonschema.validate(results_of(out, verb), schema(verb))
    assert texts[verb].endswith(f"The page: {out / 'report.html'}")
    assert max(map(len, texts[verb].splitlines()[:-1])) <= 100
    page = (out / "report.html").read_text()
    for verdict in results_of(out, verb)["verdicts"]:
        assert (
            html.escape(verdict["statement"]) in page and verdict["verdict"].upper() in texts[verb]
        )


def direct(verb, model, corpus, results):
    """The same question asked of the library, with the texts themselves."""
    model = satlens.load_model(model)
    texts = list(read_corpus(corpus).documents[: results["corpus"]["documents"]])
    if verb == "exits":
        return direct_exits(satlens.wrap(model), texts)
    if verb == "route":
        return direct_route(satlens.wrap(model), texts)
    settings = dataclasses.asdict(asked(verb, "", ""))
    for name in ("model", "corpus", "max_tokens", "separator", "batch_size", "mask_share"):
        settings.pop(name, None)
    modules = {"probe": satlens.probes, "patch": satlens.patching, "shortcut": satlens.lenses,
               "rerank": satlens.reranking, "depth": satlens.theory.depth}  # fmt: skip
    if verb == "shortcut":
        settings.pop("k")  # of the saturation layers, which a lens knows nothing of
    return modules[verb].report(model, texts, **settings)


def direct_route(model, texts):
    """Documents dealt by hand."""
    own = asked("route", "", "")
    held_out, training = satlens.lenses.split_documents(
        model.batches(texts, 8), own.test_share, own.seed
    )
    return satlens.routing.report(
        model,
        training,
        held_out,
        penalties=own.penalties,
        steps=own.steps,
        lr=own.lr,
        draws=own.draws,
    )


def direct_exits(model, texts):
    """Documents dealt by hand, and the probe fitted on one part of them."""
    own = asked("exits", "", "")
    held_out, training = satlens.lenses.split_documents(
        model.batches(texts, 8), own.test_share, own.seed
    )

    def fit_stage(model, batches):
        sampler = satlens.probes.StageSampler(per_cell=own.per_cell, seed=own.seed)
        for states, events in stream(model, batches, k=own.k):
            features = satlens.probes.final_features(states.logits, own.k)
            sampler.update(states.resid, events, features)
        found = sampler.finish().balanced(own.stages, own.min_states)
        probe = satlens.StageProbe().fit(found.state, found.stage, found.layer)
        return satlens.exits.StageExit(probe, first=int(found.layer.min()))

    return satlens.exits.report(
        model, training, held_out, fit_stage=fit_stage, points=own.points, epsilons=own.epsilons,
        delta=own.delta, tokens=own.fit_tokens, untrained_seeds=own.untrained_seeds, seed=own.seed,
    )  # fmt: skip


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
        "satlens audit · probe · patch · shortcut · exits · rerank · depth · route" in page
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
        ("depth", {"--untrained-seeds": "2"}, "untrained_seeds must be 0 or 1, got 2"),
    ],
)
def test_bad_requests_are_one_message_and_no_folder(
    settling, corpus, tmp_path, capsys, verb, change, message
):
    given = {
        "MODEL": str(settling),
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
    arguments = [verb, str(folder), "--corpus", str(corpus), "--out", str(tmp_path / "run")]
    assert main([*arguments, "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert "of calm (weights" in error and "little (weights" in error
    assert main(["audit", *arguments[1:]]) == 2
    assert "of calm (weights" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


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
