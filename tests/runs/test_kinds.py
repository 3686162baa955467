"""`satlens audit`, `probe`, `patch`, `shortcut` on models of every kind: what they write and refuse."""

import json
import shutil
import sys

import jsonschema
import numpy as np
import pytest
import torch

import satlens
from satlens.cli import main
from satlens.errors import InputError, ModelError
from satlens.report.validate import schema
from satlens.runs import (
    AuditSettings,
    DepthSettings,
    DynamicsSettings,
    ExitsSettings,
    PatchSettings,
    ProbeSettings,
    RerankSettings,
    RouteSettings,
    ShortcutSettings,
    run_audit,
    run_depth,
    run_dynamics,
    run_exits,
    run_patch,
    run_probe,
    run_rerank,
    run_route,
    run_shortcut,
)
from satlens.runs.corpora import KINDS as CORPORA
from satlens.runs.folder import place
from tests.builders import random_other_hf
from tests.models.pictures import image_classifier, processor, write_pictures
from tests.runs.kinds import KINDS, letters, make_corpus, make_model, write_pairs

pytest.importorskip("soundfile")
READ = dict(k=3, max_tokens=120, separator="\n\n")
ASKED = {
    "audit": (run_audit, AuditSettings, dict(null_tokens=60, draws=20, untrained_seeds=1)),
    "probe": (run_probe, ProbeSettings, dict(min_states=4, per_cell=20, folds=2, draws=1)),
    "patch": (run_patch, PatchSettings,
              dict(max_tokens=600, pairs=8, steered=8, gap=1, alphas=(1.0,), offsets=(0,), mask_share=0.5)),
    "shortcut": (run_shortcut, ShortcutSettings,
                 dict(splits=1, ridge=0.1, rank=4, tuned_steps=2, submodule_tokens=20, submodule_layers=1)),
    "exits": (run_exits, ExitsSettings,
              dict(splits=1, points=2, fit_tokens=40, min_states=3, per_cell=20, untrained_seeds=0)),
    "rerank": (run_rerank, RerankSettings, dict(folds=2, draws=1, null_tokens=40, shuffles=9)),
    "route": (run_route, RouteSettings, dict(steps=1, penalties=(0.3,), train_seeds=1, draws=1)),
    "depth": (run_depth, DepthSettings, dict(draws=1)),
    "dynamics": (run_dynamics, DynamicsSettings, dict(draws=1, null_tokens=40)),
}  # fmt: skip
FOR_ALL = ("audit", "probe", "patch", "shortcut", "depth")
NOUNS = {
    "images": ("image", "class token"),
    "recordings": ("recording", "frame"),
    "speech": ("recording", "token"),
    "masked text": ("document", "masked token"),
    "pairs": ("pair", "token"),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """By kind: the folder of a model, and a corpus for it."""
    root = tmp_path_factory.mktemp("kinds")
    return {
        kind: (make_model(kind, root / kind / "model"), make_corpus(kind, root / kind / "corpus"))
        for kind in KINDS
    }


@pytest.fixture(autouse=True)
def figures(request, monkeypatch):
    """Only `test_audit` draws figures, which takes longer than the run: elsewhere there is no matplotlib."""
    if request.function is not test_audit:
        monkeypatch.setitem(sys.modules, "matplotlib", None)


def ask(verb, model, corpus, out, at_hand=None, **change):
    """Run a verb and read its results."""
    run, settings, values = ASKED[verb]
    asked = settings(str(model), corpus=str(corpus), **(READ | values | change))
    text = run(asked, out, at_hand)
    results = json.loads((place(out, verb) / "results.json").read_text())
    jsonschema.validate(results, schema(verb))
    return results, text


@pytest.mark.parametrize("kind", KINDS)
def test_audit(given, kind, tmp_path):
    model, corpus = given[kind]
    results, _ = ask("audit", model, corpus, tmp_path / "run")
    events = satlens.SaturationEvents.from_parquet(tmp_path / "run" / "events.parquet")
    found = results["corpus"]
    assert (found["reads"], found["document"], found["position"]) == (kind, *NOUNS[kind])
    assert found["tokens"] == len(events) and found["documents"] == len(set(events.doc))
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
    if kind == "images":
        direct = satlens.detect(satlens.load_model(model), corpus, k=3)
        order = np.argsort(direct.doc)[:120]
        assert np.array_equal(events.layer, direct.layer[order])
        assert np.array_equal(events.token, direct.token[order])
        assert found["tokens"] == found["documents"] == 120


@pytest.mark.parametrize("verb", FOR_ALL[1:])
@pytest.mark.parametrize("kind", KINDS)
def test_the_other_verbs(given, kind, verb, tmp_path):
    model, corpus = given[kind]
    results, _ = ask(verb, model, corpus, tmp_path / "run")
    assert results["corpus"]["reads"] == kind and results["verdicts"]


def test_exits_of_an_encoder_decoder(given, tmp_path):
    results, _ = ask("exits", *given["pairs"], tmp_path / "run")
    assert results["corpus"]["reads"] == "pairs" and results["verdicts"]


@pytest.mark.parametrize(
    ("verb", "kind"),
    [(verb, kind) for verb in ("exits", "rerank", "route", "dynamics") for kind in KINDS
     if kind not in ASKED[verb][1].takes],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_at_once(given, verb, kind, tmp_path, capsys):
    model, corpus = given[kind]
    if verb == "dynamics":
        for step in (1, 2):
            shutil.copytree(model, model.parent / "training" / f"step{step}", dirs_exist_ok=True)
        model = model.parent / "training"
    arguments = [verb, str(model), "--corpus", str(corpus), "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"and satlens {verb} takes models that read text" in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", FOR_ALL)
@pytest.mark.parametrize("kind", ["images", "recordings", "speech", "pairs"])
def test_the_bundled_stories_are_refused(given, kind, verb, tmp_path, capsys):
    assert main([verb, str(given[kind][0]), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert f'"bundled" is text. Its corpus is {CORPORA[kind].wanted}.' in error
    assert list(tmp_path.iterdir()) == []


def test_text_without_a_tokenizer_is_refused(tmp_path, capsys):
    for name, kind in {"bert": "masked text", "bart": "pairs"}.items():
        random_other_hf(name).save_pretrained(tmp_path / name)
        corpus = make_corpus(kind, tmp_path / f"{name}-corpus")
        arguments = ["audit", str(tmp_path / name), "--corpus", str(corpus)]
        assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
        assert f"{name} has no tokenizer, and satlens audit reads text" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_damaged_images_are_named_in_the_notes(given, tmp_path):
    write_pictures(tmp_path / "photos", 12)
    (tmp_path / "photos" / "class0" / "broken.png").write_bytes(b"no image")
    (tmp_path / "photos" / "labels.txt").write_text("1 2 3")
    results, text = ask("audit", given["images"][0], tmp_path / "photos", tmp_path / "run", k=2)
    said = "1 of 13 images cannot be read and are left out: class0/broken.png (no image"
    for told in (" ".join(results["notes"]), " ".join(text.split())):
        assert said in told and "holds 1 .txt file besides" in told
    assert results["corpus"]["documents"] == 12
    assert "class0/broken.png" in (tmp_path / "run" / "report.html").read_text()


def test_damaged_recordings_are_named_in_the_notes(given, tmp_path):
    corpus = make_corpus("recordings", tmp_path / "voices")
    (corpus / "speaker0" / "broken.wav").write_bytes(b"RIFF")
    results, _ = ask("audit", given["recordings"][0], corpus, tmp_path / "run", max_tokens=9_999)
    assert any("1 of 13 audio files cannot be read" in note for note in results["notes"])
    assert any("broken.wav" in note for note in results["notes"])
    assert results["corpus"]["documents"] == 12


def test_only_max_tokens_are_read(given, tmp_path):
    results, _ = ask("audit", *given["images"], tmp_path / "run", k=2, max_tokens=10)
    assert results["corpus"]["tokens"] == results["corpus"]["documents"] == 10
    assert "Read the first 10 of 160 images: they reach max_tokens = 10." in results["notes"]


def test_one_image_has_numbers_and_no_intervals(given, tmp_path):
    model, corpus = given["images"]
    one = next(corpus.rglob("*.png"))
    results, _ = ask("audit", model, one, tmp_path / "run")
    assert results["saturation"]["trained"]["ranks"][0]["ci"] is None
    assert "exchanged" not in results["nulls"]
    assert any(note.startswith("One image only") for note in results["notes"])
    assert any("null of exchanged paths is not available" in note for note in results["notes"])


def test_a_classifier_with_one_answer_has_no_exchanged_paths(tmp_path):
    model = image_classifier()
    with torch.no_grad():
        model.classifier.bias[2] += 1e4
    model.processor = processor(tmp_path / "processor")
    write_pictures(tmp_path / "photos", 12)
    results, _ = ask("audit", "sure", tmp_path / "photos", tmp_path / "run", model)
    assert "rotated" in results["nulls"] and "exchanged" not in results["nulls"]
    (note,) = results["notes"]
    assert "another image with another answer, and some class tokens have none" in note
    assert results["model"]["name"] == "sure"


def test_the_masks_are_drawn_by_share_and_seed(given, tmp_path):
    model, corpus, found = given["masked text"][0], tmp_path / "few.txt", {}
    corpus.write_text("\n\n".join(given["masked text"][1].read_text().split("\n\n")[:12]))
    for name, change in {
        "few": {}, "again": {}, "many": {"mask_share": 0.5}, "seeded": {"seed": 1}
    }.items():  # fmt: skip
        results, _ = ask("audit", model, corpus, tmp_path / name, k=2, max_tokens=9_999, **change)
        events = satlens.SaturationEvents.from_parquet(tmp_path / name / "events.parquet")
        found[name] = results, [*zip(events.doc, events.pos, strict=True)]
    assert found["few"][1] == found["again"][1] != found["seeded"][1]
    assert found["many"][0]["corpus"]["tokens"] > 2 * found["few"][0]["corpus"]["tokens"]
    assert (
        "50 % of each document's tokens are masked (seed 0), and they count alone."
        in (found["many"][0]["notes"])
    )
    assert found["many"][0]["settings"]["mask_share"] == 0.5
    with pytest.raises(InputError, match="mask_share must be above 0 and at most 1, got 1.5"):
        AuditSettings("tiny", mask_share=1.5)


@pytest.mark.parametrize("kind", ["images", "speech"])
def test_a_run_repeats_from_its_settings(given, kind, tmp_path, capsys):
    results, _ = ask("audit", *given[kind], tmp_path / "run")
    settings = str(tmp_path / "run" / "settings.yaml")
    assert main(["audit", "--from", settings, "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    for key in results.keys() - {"seconds"}:
        assert again[key] == results[key], key


def test_a_model_at_hand_is_the_model_of_its_folder(given, tmp_path):
    model, corpus = given["images"]
    host, few = satlens.load_model(model), dict(k=2, max_tokens=20)
    loaded, _ = ask("audit", model, corpus, tmp_path / "loaded", **few)
    for name, at_hand in {"host": host, "wrapped": satlens.wrap(host)}.items():
        found, text = ask("audit", "mine", corpus, tmp_path / name, at_hand, **few)
        assert text.startswith("mine: 6 layers") and found["model"]["name"] == "mine"
        for key in ("saturation", "order", "nulls", "corpus", "verdicts"):
            assert found[key] == loaded[key], key
    assert found["model"]["weights_sha256"] == loaded["model"]["weights_sha256"]
    assert AuditSettings.read(tmp_path / "host" / "settings.yaml").model == "mine"


def test_a_bare_t5_at_hand(tmp_path):
    write_pairs(tmp_path / "pairs.jsonl", 12)
    model = random_other_hf("t5")
    model.tokenizer = letters()
    results, _ = ask("audit", "t5", tmp_path / "pairs.jsonl", tmp_path / "run", model)
    assert results["corpus"]["reads"] == "pairs"


@pytest.mark.parametrize("verb", FOR_ALL)
def test_more_ranks_than_outputs_are_refused(given, verb, tmp_path):
    with pytest.raises(InputError, match="k=8; k must be between 1 and the model's 7 outputs"):
        ask(verb, *given["images"], tmp_path / "run", k=8)
    assert not (tmp_path / "run").exists()


def test_a_model_without_an_untrained_twin_is_refused_before_the_long_pass(given, tmp_path):
    class Own(torch.nn.Module):
        """A host of no known kind around one that is known."""

        def __init__(self, host):
            super().__init__()
            self.host = host

    from dataclasses import replace

    wrapped = satlens.wrap(satlens.load_model(given["images"][0]))
    own = replace(wrapped, host=Own(wrapped.host).eval())
    with pytest.raises(ModelError, match="cannot build a Own anew"):
        ask("audit", "own", given["images"][1], tmp_path / "run", own)
    assert list(tmp_path.iterdir()) == []
    results, _ = ask("probe", "own", given["images"][1], tmp_path / "run", own)
    assert any(note.startswith("untrained: not available") for note in results["notes"])


def test_detect_names_images_and_classes(given, capsys):
    model, corpus = given["images"]
    assert main(["detect", str(model), str(corpus), "--k", "2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "->" in line][1:]
    top = satlens.detect(satlens.load_model(model), corpus, k=1).token[:, 0]
    assert [row[-1] for row in rows] == [f"LABEL_{label}" for label in top]
    assert rows[0][-3].startswith("class0/000")


@pytest.mark.assets
def test_a_real_classifier_on_real_photos(assets, tmp_path):
    model, photos = assets / "models" / "deit-tiny", tmp_path / "photos"
    for path in sorted((assets / "data" / "cifar10").glob("*/000[01].jpg")):
        (photos / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, photos / path.parent.name)
    results, text = ask("audit", model, photos, tmp_path / "run")
    assert results["corpus"]["documents"] == 20 and "on photos: 20 images" in text
    heat = json.loads((tmp_path / "run" / "heatmap.json").read_text())
    assert not any(label.startswith("#") for label in heat[0]["top"][0][0])
