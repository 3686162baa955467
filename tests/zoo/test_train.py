import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from satlens.errors import InputError
from satlens.zoo.model import add_dropout, build_model, document_nats, learning_rate
from satlens.zoo.settings import Settings, read_settings
from satlens.zoo.train import main, snapshot_steps, train

from .synthetic import MICRO, micro, write_texts

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon")
OPTIMIZERS = ["adamw", pytest.param("muon", marks=needs_muon)]


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


def state(out):
    return load_file(out / "work" / "last.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.fixture(scope="module", params=OPTIMIZERS)
def settings(request):
    return micro(optimizer=request.param)


@pytest.fixture(scope="module")
def straight(data, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("straight")
    return out, train(data, out, settings)


def test_the_loss_falls(straight, settings):
    _, progress = straight
    rows = progress["history"]
    assert [row["step"] for row in rows] == [8, 16, 24]
    assert rows[-1]["held_out"]["both"] < rows[0]["held_out"]["both"] - 0.5
    assert rows[-1]["held_out"]["both"] < math.log(settings.vocab) - 2
    assert progress["best"]["both"] == min(row["held_out"]["both"] for row in rows)


def test_a_stop_and_a_resume_change_nothing(data, settings, straight, tmp_path):
    train(data, tmp_path, settings, stop_at=11)
    stopped = state(tmp_path)
    progress = train(data, tmp_path, settings, resume=True)
    assert progress["step"] == settings.steps
    assert same(state(tmp_path), state(straight[0]))
    assert not same(stopped, state(straight[0]))
    best = [load_file(o / "work" / "best.safetensors") for o in (tmp_path, straight[0])]
    assert same(*best)


def test_seeds_repeat(data, settings, straight, tmp_path):
    train(data, tmp_path / "again", settings)
    assert same(state(tmp_path / "again"), state(straight[0]))
    train(data, tmp_path / "other", dataclasses.replace(settings, seed=1))
    assert not same(state(tmp_path / "other"), state(straight[0]))


def test_resuming_nothing_or_another_shape_is_refused(data, straight, settings, tmp_path):
    with pytest.raises(InputError, match="No checkpoint at .* without --resume"):
        train(data, tmp_path, settings, resume=True)
    train(data, tmp_path, micro(optimizer=settings.optimizer, hidden=16), stop_at=1)
    with pytest.raises(InputError, match="does not fit the model"):
        train(data, tmp_path, settings, resume=True)


@needs_muon
def test_resuming_with_another_optimizer_is_refused(data, tmp_path):
    train(data, tmp_path, micro(optimizer="adamw"), stop_at=1)
    with pytest.raises(InputError, match="state of 1 optimizers, the settings make 2"):
        train(data, tmp_path, micro(optimizer="muon"), resume=True)


def test_the_record_repeats_the_run(straight, settings):
    out, _ = straight
    assert read_settings(out / "settings.json") == settings
    record = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert record["versions"]["torch"] == torch.__version__
    assert record["documents"]["held_out"]["stories"] == 6
    kept = sorted(path.name for path in (out / "work").glob("step_*"))
    assert kept == [f"step_{step:06d}.safetensors" for step in sorted(snapshot_steps(settings))]
    assert max(snapshot_steps(settings)) == settings.steps


def test_minutes_stop_a_run_that_can_go_on(data, tmp_path):
    progress = train(data, tmp_path, micro(optimizer="adamw"), minutes=0.0)
    assert progress["step"] == 1
    assert train(data, tmp_path, micro(optimizer="adamw"), resume=True)["step"] == MICRO.steps


def test_the_command_writes_a_model_folder(data, tmp_path):
    from transformers import AutoModelForCausalLM

    out = tmp_path / "out"
    options = [
        f"--{field.name.replace('_', '-')}={getattr(MICRO, field.name)}"
        for field in dataclasses.fields(Settings)
        if field.name not in ("autocast", "optimizer")
    ]
    main(["--data", str(data), "--out", str(out), *options, "--optimizer=adamw", "--no-autocast"])
    assert read_settings(out / "settings.json") == micro(optimizer="adamw", autocast=False)
    model = AutoModelForCausalLM.from_pretrained(out, dtype="float32")
    trained = load_file(out / "work" / "last_weights.safetensors")
    for name, value in trained.items():  # the last weights are the best of this short run
        assert torch.equal(model.get_parameter(name), value.half().float())
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["held_out"]["both"]["model"]["nats_per_token"] < math.log(MICRO.vocab) - 2
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{metrics['held_out']['both']['trigram']['nats_per_token']:.3f}" in card
    for entry in metrics["samples"]:
        assert entry["text"].startswith(entry["prompt"])


def test_a_missing_data_folder_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.delenv("SATLENS_ASSETS", raising=False)
    with pytest.raises(InputError, match="pass --data DIR"):
        main(["--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match="at least one is missing"):
        main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "'sgd'"),
        ({"steps": 0}, "steps is 0"),
        ({"dropout": 1.5}, "dropout is 1.5"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        micro(**changes)


def test_learning_rate_rises_stays_and_falls():
    settings = micro(steps=1000, warmup=100, decay=0.5, final_lr=0.1, lr=2.0)
    assert learning_rate(0, settings) == pytest.approx(0.02)
    assert learning_rate(99, settings) == learning_rate(499, settings) == pytest.approx(2.0)
    assert learning_rate(750, settings) == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert learning_rate(1000, settings) == pytest.approx(0.2)


def test_dropout_acts_in_training_only_and_in_every_block():
    plain, dropped = build_model(MICRO), build_model(MICRO)
    add_dropout(dropped, 0.5)
    ids = torch.arange(20)[None]
    plain.eval(), dropped.eval()
    assert torch.equal(plain(input_ids=ids).logits, dropped(input_ids=ids).logits)
    dropped.train()
    with torch.no_grad():
        states = dropped(input_ids=ids, output_hidden_states=True).hidden_states
        quiet = plain(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(states[0], quiet[0])

    assert not torch.equal(states[1], quiet[1])


@torch.no_grad()
def test_document_nats_scores_every_token_once_with_the_right_context():
    model = build_model(MICRO).eval()
    generator = torch.Generator().manual_seed(2)
    lengths = (2, 20, 33, 34, 49, 80)
    documents = [torch.randint(1, 300, (n,), generator=generator).tolist() for n in lengths]
    found = document_nats(model, documents, context=32, batch=4)
    for ids, nats in zip(documents, found, strict=True):
        expected = 0.0
        for i in range(1, len(ids)):
            # The window whose second half, or first window, holds target i.
            begin = 0 if i <= 32 else 16 * math.ceil((i - 32) / 16)
            logits = model(input_ids=torch.tensor([ids[begin:i]])).logits[0, -1]
            expected += float(F.cross_entropy(logits[None], torch.tensor(ids[i : i + 1])))
        assert float(nats) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_a_uniform_model_pays_ln_v_for_each_token():
    model = build_model(MICRO)
    model.model.embed_tokens.weight.zero_()
    documents = [[0, *range(1, n), 0] for n in (3, 40, 90)]
    nats = document_nats(model, documents, context=32)
    expected = torch.tensor([len(ids) - 1 for ids in documents]) * math.log(MICRO.vocab)
    assert torch.allclose(nats, expected.double(), rtol=1e-5)
