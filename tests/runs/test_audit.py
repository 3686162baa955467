"""The main job on a small random model: what it writes, that it repeats, and how it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import jsonschema
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import satlens
from satlens.cli import main
from satlens.report.audit import figures
from satlens.report.validate import schema
from satlens.runs import AuditSettings, run_audit
from satlens.runs import results as writing
from satlens.survey import read_corpus
from tests.builders import random_hf


def small(folder, corpus, **change):
    return AuditSettings(
        str(folder),
        corpus=str(corpus),
        max_tokens=250,
        null_tokens=150,
        untrained_seeds=2,
        **change,
    )


@pytest.fixture(scope="module")
def run(folder, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    text = run_audit(small(folder, corpus), out)
    return out, text, json.loads((out / "results.json").read_text())


def test_the_folder_holds_what_is_promised(run):
    out, text, results = run
    found = {path.name for path in out.iterdir()}
    assert found == {
        "report.html", "results.json", "events.parquet", "settings.yaml", "heatmap.json", "figures",
    }  # fmt: skip
    assert str(out / "report.html") in text
    jsonschema.validate(results, schema())


def test_figures_are_for_the_screen_and_for_print(run, tmp_path, formats, monkeypatch):
    out, _, found = run
    monkeypatch.setattr(writing, "FORMATS", formats)
    writing.save_figures(figures.save_figures, found, tmp_path)
    drawn = {path.stem for path in (out / "figures").iterdir()}
    assert len(drawn) >= 6
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{ending}" for name in drawn for ending in ("png", "pdf")
    }


def test_results_are_those_of_the_library(run, folder, corpus):
    out, _, results = run
    events = satlens.SaturationEvents.from_parquet(out / "events.parquet")
    documents = read_corpus(corpus).documents[: results["corpus"]["documents"]]
    direct = satlens.detect(satlens.load_model(folder), list(documents))
    order = np.lexsort((events.pos, events.doc))
    assert np.array_equal(events.layer[order], direct.layer[: len(events)])
    ranks = results["saturation"]["trained"]["ranks"]
    assert [r["mean_layer"] for r in ranks] == pytest.approx(events.layer.mean(0).tolist())
    assert [r["censored"]["value"] for r in ranks] == pytest.approx(
        events.censored.mean(0).tolist()
    )
    assert results["corpus"]["tokens"] == len(events) >= 250
    value = satlens.order.concordance(direct[: len(events)]).estimate.value
    assert results["order"]["trained"]["concordance"]["value"] == pytest.approx(value)


def test_a_run_repeats_from_its_settings(run, tmp_path):
    out, _, results = run
    assert (
        main(["audit", "--from", str(out / "settings.yaml"), "--out", str(tmp_path / "again")]) == 0
    )
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    for key in ("model", "corpus", "settings", "saturation", "order", "nulls", "verdicts"):
        assert again[key] == results[key], key


def test_another_seed_draws_other_nulls_and_finds_the_same_layers(run, folder, corpus, tmp_path):
    _, _, results = run
    run_audit(small(folder, corpus, seed=1), tmp_path / "run")
    other = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (
        other["saturation"]["trained"]["histogram"] == results["saturation"]["trained"]["histogram"]
    )
    assert other["nulls"]["rotated"]["concordance"] != results["nulls"]["rotated"]["concordance"]
    assert (
        other["saturation"]["untrained"]["histogram"]
        != results["saturation"]["untrained"]["histogram"]
    )


def test_one_document_has_numbers_and_no_intervals(folder, tmp_path):
    text = " ".join(read_corpus("bundled").documents[:4])
    (tmp_path / "one.txt").write_text(text)
    run_audit(small(folder, tmp_path / "one.txt"), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["saturation"]["trained"]["ranks"][0]["ci"] is None
    assert "exchanged" not in results["nulls"]
    assert any("One document only" in note for note in results["notes"])
    assert any("1 document longer than the context" in note for note in results["notes"])
    assert results["corpus"]["split_documents"] == 1 < results["corpus"]["windows"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A model that reads letters: so few outputs that all of them can be ranked in seconds."""
    path = tmp_path_factory.mktemp("narrow") / "letters"
    letters = ["<s>", "<unk>", *" .,abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.WordLevel({x: i for i, x in enumerate(letters)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>", model_max_length=64
    )
    fast.save_pretrained(path)
    random_hf("llama", vocab=len(letters), layers=4, n_ctx=64).save_pretrained(path)
    return path, len(letters)


@pytest.mark.parametrize("k", [2, "every output"])
def test_k_at_its_ends(narrow, corpus, tmp_path, k):
    model, outputs = narrow
    k = outputs if k == "every output" else k
    asked = AuditSettings(
        str(model), corpus=str(corpus), k=k, max_tokens=60, null_tokens=60, untrained_seeds=1
    )
    run_audit(asked, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    jsonschema.validate(results, schema())
    assert len(results["saturation"]["trained"]["ranks"]) == k


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--corpus": "nowhere.txt"}, "No corpus at nowhere.txt"),
        ({"--k": "301"}, "k=301; k must be between 1 and the model's 300 outputs"),
        ({"--k": "1"}, "k must be at least 2, got 1"),
        ({"--draws": "3"}, "draws must be at least 20, got 3"),
        ({"MODEL": "no/such-model"}, "no/such-model"),
        ({"MODEL": "./nowhere"}, "nowhere"),
    ],
)
def test_bad_requests_are_one_message_and_no_folder(
    folder, corpus, tmp_path, capsys, change, message
):
    asked = {
        "MODEL": str(folder),
        "--corpus": str(corpus),
        "--out": str(tmp_path / "run"),
        **change,
    }
    arguments = ["audit", asked.pop("MODEL"), *(part for pair in asked.items() for part in pair)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_model_or_settings_but_not_both(tmp_path, capsys):
    for arguments in ([], ["tiny", "--from", "x.yaml"]):
        assert main(["audit", *arguments, "--out", str(tmp_path / "run")]) == 2
        assert "one of the two" in capsys.readouterr().err


@pytest.mark.one_host  # what is interrupted is satlens
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_nothing(folder, corpus, tmp_path):
    arguments = ["audit", str(folder), "--corpus", str(corpus), "--untrained-seeds", "1"]
    arguments += ["--out", str(tmp_path / "run")]
    code = "import sys; from satlens.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        stderr=subprocess.PIPE,
        # A shell that runs tests in the background lets them inherit a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob(".run.audit.part/*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "interrupted; nothing was written" in error.decode()
    assert list(tmp_path.iterdir()) == []


def test_detect_prints_one_text(folder, capsys, monkeypatch):
    assert main(["detect", str(folder), "Lily had a red kite.", "--k", "3"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row[:1] and row[0].isdigit()][:3] == ["1", "2", "3"]
    assert "rank 3" in out and "Layers 0 .. 3" in out
    assert "".join(row[4] for row in rows if row[:1] and row[0].isdigit()) == "Lily·had·a·red·kite."
    monkeypatch.setattr("sys.stdin", type("In", (), {"read": lambda self: "Lily"})())
    assert main(["detect", str(folder), "-"]) == 0
    assert main(["detect", str(folder), ""]) == 2
    assert "has no tokens" in capsys.readouterr().err
