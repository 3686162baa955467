"""Rows against the functions they come from, one model at a time, resume, and what is refused at once."""

import dataclasses
import gc
import json
import weakref

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import satlens
from satlens.errors import InputError, ModelError, OutputError
from satlens.order import concordance, coverage, draw_nulls, excess, verdict
from satlens.theory import Track, snapshots, track
from satlens.verdicts import FAILS, HOLDS, UNKNOWN
from satlens.zoo.train import train
from tests.builders import random_hf
from tests.zoo.synthetic import micro, write_texts

SMALL = {"draws": 2, "null_tokens": 40, "k": 3}


def documents(seed=0, number=6, length=14, vocab=50):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, vocab, length).tolist() for _ in range(number)]


@pytest.fixture(scope="module")
def models():
    return [random_hf("llama", seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def straight(models):
    return track(list(zip((0, 10, 100), models, strict=True)), documents(), **SMALL)


def test_a_row_is_what_the_questions_say(models, straight):
    events = satlens.detect(models[1], documents(), k=3)
    row = straight.rows[1]
    assert (row.step, row.tokens, row.documents) == (10, 6 * 14, 6)
    assert row.concordance == concordance(events).estimate
    assert row.mean_layer[2] == coverage(events).mean_layer[2]
    assert row.censored[0] == coverage(events).censored[0]
    nulls = draw_nulls(
        models[1], documents(), kinds=("rotated", "exchanged"), draws=2, k=3, max_tokens=40
    )
    assert len(nulls["rotated"].events) == 42  # whole documents
    for kind, drawn in nulls.items():
        assert row.excess[kind] == excess(drawn).estimate
    assert row.verdict == verdict(nulls).verdict


def test_the_loss_is_the_models_own(models, straight):
    ids = torch.tensor(documents())
    with torch.no_grad():
        logits = models[2](input_ids=ids).logits.double()
    nats = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    row = straight.rows[2]
    assert row.loss.value == pytest.approx(float(nats), rel=1e-5)
    assert row.loss.low < row.loss.value < row.loss.high


def test_windows_of_a_long_document_have_no_next_token_between_them():
    model = random_hf("llama", n_ctx=8)
    ids = torch.tensor(documents(number=2, length=16))
    found = track([(0, model)], ids, **SMALL)
    with torch.no_grad():
        halves = ids.reshape(4, 8)
        logits = model(input_ids=halves).logits.double()
    nats = F.cross_entropy(logits[:, :-1].flatten(0, 1), halves[:, 1:].flatten())
    assert found.rows[0].loss.value == pytest.approx(float(nats), rel=1e-5)


def test_one_model_at_a_time():
    alive = []

    def checkpoints():
        for step in range(3):
            gc.collect()
            assert not [one for one in alive if one() is not None]
            model = random_hf("llama", seed=step)
            alive.append(weakref.ref(model))
            yield step, model
            del model

    assert len(track(checkpoints(), documents(), **SMALL).rows) == 3


def test_folders_are_loaded(models, tmp_path):
    for step, model in zip((0, 10), models, strict=False):
        model.save_pretrained(tmp_path / str(step))
    found = track([(s, tmp_path / str(s)) for s in (10, 0)], documents(), **SMALL)
    assert [row.step for row in found.rows] == [0, 10]
    assert found.rows[1].loss.value == pytest.approx(
        track([(10, models[1])], documents(), **SMALL).rows[0].loss.value, rel=1e-5
    )


def test_a_stopped_run_goes_on(models, straight, tmp_path):
    def stops():
        yield 0, models[0]
        yield 10, models[1]
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        track(stops(), documents(), folder=folder, **SMALL)
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "steps").iterdir()}
    assert len(kept) == 2
    whole = track(zip((0, 10, 100), models, strict=True), documents(), folder=folder, **SMALL)
    assert [row.to_dict() for row in whole.rows] == [row.to_dict() for row in straight.rows]
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "steps").iterdir()}
    assert kept.items() < after.items()


def test_a_folder_is_of_one_run(models, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    track([(0, models[0])], documents(), folder=folder, **SMALL)
    with pytest.raises(OutputError, match="other settings: draws is 2 there and 3 here"):
        track([(0, models[0])], documents(), folder=folder, **{**SMALL, "draws": 3})
    with pytest.raises(OutputError, match="other settings: corpus_sha256"):
        track([(0, models[0])], documents(seed=1), folder=folder, **SMALL)
    with monkeypatch.context() as other, pytest.raises(OutputError, match="settings: satlens is"):
        other.setattr("satlens.theory.tracking.rows.__version__", "0.0")
        track([(0, models[0])], documents(), folder=folder, **SMALL)
    with pytest.raises(OutputError, match="is of other weights"):
        track([(0, models[1])], documents(), folder=folder, **SMALL)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds files, and no track\.json"):
        track([(0, models[0])], documents(), folder=tmp_path / "full", **SMALL)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_row_of_before_layers_by_document_were_kept_is_measured_again(models, tmp_path):
    folder, own = tmp_path / "run", [(0, models[0])]
    straight = track(own, documents(), folder=folder, **SMALL)
    (file,) = (folder / "steps").iterdir()
    said = json.loads(file.read_text())
    del said["row"]["rank_1"], said["row"]["loss"]["p"]
    file.write_text(json.dumps(said))
    again = track(own, documents(), folder=folder, **SMALL)
    assert again.rows[0].to_dict() == straight.rows[0].to_dict()
    events = satlens.detect(models[0], documents(), k=3)
    for doc, (layers, tokens) in enumerate(again.rows[0].rank_1):
        assert layers == events.layer[events.doc == doc, 0].sum() and tokens == 14


@pytest.mark.parametrize(
    ("checkpoints", "words"),
    [
        ([], "no checkpoints"),
        ([(0, "x"), (5, "y"), (5, "z")], "Steps must differ.* repeated: 5"),
        ([(-1, "x")], "whole number from 0 on, got -1"),
        ([("late", "x")], "whole number from 0 on, got 'late'"),
        (["x"], "pair .step, model or folder.; got str"),
        (None, "pairs of a step and a model; got one NoneType"),
        ("runs/step10", "pairs of a step and a model; got one str"),
        ([(0, "/no/such/place")], "step 0, /no/such/place, does not exist"),
    ],
)
def test_checkpoints_that_cannot_be_are_refused_before_one_is_loaded(checkpoints, words):
    with pytest.raises(InputError, match=words):
        track(checkpoints, documents())


def test_models_that_do_not_belong_together_are_refused(models, tmp_path):
    other = random_hf("llama", vocab=60)
    with pytest.raises(InputError, match="step 0 has a vocabulary of 50, step 1 of 60"):
        track([(0, models[0]), (1, other)], documents(), **SMALL)
    for name, model in (("a", models[0]), ("b", other)):
        model.save_pretrained(tmp_path / name)
    (tmp_path / "a" / "model.safetensors").unlink()  # refused before any weights are read
    with pytest.raises(InputError, match="step 0 has a vocabulary of 50, step 1 of 60"):
        track([(0, tmp_path / "a"), (1, tmp_path / "b")], documents(), **SMALL)
    with pytest.raises(InputError, match="a number of blocks of 3, step 1 of 2"):
        track([(0, models[0]), (1, random_hf("llama", layers=2))], documents(), **SMALL)


def test_inputs_that_cannot_be_followed_are_refused(models):
    with pytest.raises(InputError, match="no documents"):
        track([(0, models[0])], [], **SMALL)
    with pytest.raises(InputError, match="next token"):
        track([(0, models[0])], [[1], [2], [3]], **SMALL)
    with pytest.raises(InputError, match="k must be a whole number of 2 or more, got 1"):
        track([(0, models[0])], documents(), k=1)
    with pytest.raises(InputError, match="margin must be above 0"):
        track([(0, models[0])], documents(), margin=0)
    both_sides = dataclasses.replace(satlens.wrap(models[0]), causal=False)
    with pytest.raises(ModelError, match="does not predict the next token"):
        track([(0, both_sides)], documents(), **SMALL)


def test_where_nothing_can_be_exchanged_the_verdict_is_open(models):
    import copy

    flat = copy.deepcopy(models[0])
    torch.nn.init.zeros_(flat.lm_head.weight)  # every score 0: one top-1 for all, and p = 1 / 50
    row = track([(0, flat)], documents(), **SMALL).rows[0]
    assert "exchanged" not in row.excess and "rotated" in row.excess
    assert row.verdict == UNKNOWN and "exchanged null could not be drawn" in row.why
    assert row.loss.value == pytest.approx(np.log(50))
    frame = Track((row,), {}).to_frame()
    assert np.isnan(frame.excess_exchanged[0]) and frame.layer_1[0] == 0


@pytest.mark.parametrize(
    ("verdicts", "step"),
    [
        ([FAILS, FAILS, FAILS], None),
        ([HOLDS, FAILS, FAILS], None),
        ([FAILS, HOLDS, HOLDS], 10),
        ([HOLDS, FAILS, HOLDS], 100),
        ([HOLDS, HOLDS, HOLDS], 0),
        ([HOLDS, HOLDS, UNKNOWN], None),
    ],
)
def test_order_appears_where_it_stays(straight, verdicts, step):
    rows = [
        dataclasses.replace(row, verdict=one)
        for row, one in zip(straight.rows, verdicts, strict=True)
    ]
    assert Track(tuple(rows), {}).appears() == step


def test_saved_and_read_again(straight, tmp_path):
    straight.save(tmp_path / "track.json")
    again = Track.load(tmp_path / "track.json")
    assert again.rows == straight.rows and again.settings == straight.settings
    frame = straight.to_frame()
    assert list(frame.step) == [0, 10, 100]
    assert frame.layer_1_low[0] <= frame.layer_1[0] <= frame.layer_1_high[0]
    (tmp_path / "other.json").write_text(json.dumps({"form": "cake"}))
    with pytest.raises(InputError, match="no file of satlens.theory.track"):
        Track.load(tmp_path / "other.json")
    said = json.loads((tmp_path / "track.json").read_text())
    del said["rows"][1]["loss"]
    (tmp_path / "track.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="changed after it was written .KeyError..loss"):
        Track.load(tmp_path / "track.json")


def test_snapshots_of_a_training_run(tmp_path):
    threads = torch.get_num_threads()
    settings = micro(optimizer="adamw")
    try:
        train(write_texts(tmp_path / "texts"), tmp_path / "run", settings)
    finally:
        torch.set_num_threads(threads)
    state = torch.random.get_rng_state()
    steps = [step for step, _ in snapshots(tmp_path / "run")]
    assert steps == [0, 10, 15, 24]
    assert torch.equal(state, torch.random.get_rng_state())
    stories = ["Story 1. The dog saw a red ball.", "Story 2. The fox likes the blue ball."]
    found = track(snapshots(tmp_path / "run"), stories, **SMALL)
    assert found.rows[-1].loss.value < found.rows[0].loss.value - 0.5
    with pytest.raises(InputError, match="kept no step yet"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "settings.json").write_bytes(
            (tmp_path / "run" / "settings.json").read_bytes()
        )
        snapshots(tmp_path / "new")
