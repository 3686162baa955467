"""The stacked LSTM: its stream, its training script on a toy size, and its folder."""

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import satlens
from satlens.cli import main as command
from satlens.errors import InputError, ModelError, SatlensError
from satlens.models import untrained
from satlens.zoo.lstm import LSTMConfig, ResidualLSTM, load
from satlens.zoo.settings import Settings, read_settings
from satlens.zoo.train import train
from satlens.zoo.train_lstm import LSTM, main

from .synthetic import micro, write_texts
from .test_train import keep_threads, same, state  # noqa: F401

TOY = micro(architecture="lstm", layers=3, optimizer="adamw", autocast=False, lr=2e-2, decay=0.3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("straight")
    return out, train(data, out, TOY)


def test_the_loss_falls(straight):
    rows = straight[1]["history"]
    assert rows[-1]["held_out"]["both"] < rows[0]["held_out"]["both"] - 0.3
    assert rows[-1]["held_out"]["both"] < math.log(TOY.vocab) - 1


def test_a_stop_and_a_resume_change_nothing(data, straight, tmp_path):
    train(data, tmp_path, TOY, stop_at=11)
    assert not same(state(tmp_path), state(straight[0]))
    assert train(data, tmp_path, TOY, resume=True)["step"] == TOY.steps
    assert same(state(tmp_path), state(straight[0]))
    names = ["best.safetensors", f"step_{TOY.steps:06d}.safetensors"]
    for name in names:
        one, two = (load_file(out / "work" / name) for out in (tmp_path, straight[0]))
        assert same(one, two)


def test_another_kind_of_network_is_not_resumed(data, straight, tmp_path):
    train(data, tmp_path, micro(optimizer="adamw"), stop_at=1)
    with pytest.raises(InputError, match="does not fit the model"):
        train(data, tmp_path, TOY, resume=True)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """What the command writes."""
    out = tmp_path_factory.mktemp("command") / "small-lstm"
    options = [
        f"--{field.name.replace('_', '-')}={getattr(TOY, field.name)}"
        for field in dataclasses.fields(Settings)
        if field.name not in ("autocast", "architecture", "optimizer", "threads")
    ]
    main(["--data", str(data), "--out", str(out), *options, "--threads=1"])
    return out


def test_the_command_measures_beside_the_n_grams(folder):
    assert read_settings(folder / "settings.json") == TOY
    losses = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["held_out"]["both"]
    assert losses["model"]["nats_per_token"] < math.log(TOY.vocab) - 1
    for name in ("trigram", "unigram"):
        assert 0 < losses[name]["nats_per_token"] < math.log(TOY.vocab)
    assert not (folder / "README.md").exists()


def test_the_folder_is_read_and_followed(folder):
    host = load(folder)
    weights = load_file(folder / "work" / "last_weights.safetensors")
    for name, parameter in host.named_parameters():
        assert torch.equal(parameter, weights[name].half().float())
    events = satlens.detect(host, ["The dog likes the red ball.", "The cat saw a blue ball."], k=3)
    assert events.n_layers == 3
    assert events.settings["model"] == "small-lstm"
    assert set(events.doc.tolist()) == {0, 1}
    assert events.pos.min() == 1  # the boundary in front does not count
    twin = untrained(host, seed=1)
    assert twin.tokenizer is host.tokenizer
    assert not torch.equal(twin.embed.weight, host.embed.weight)
    assert twin.head.weight is twin.embed.weight


def test_a_state_is_a_sum_of_what_the_layers_added():
    torch.manual_seed(0)
    model = ResidualLSTM(LSTMConfig(50, 16, 12)).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        states = satlens.wrap(model).states(
            next(iter(satlens.wrap(model).batches([[1, 2, 3, 4]], 1)))
        )
        stream = model.embed(ids)
        for layer, block in enumerate(model.layers):
            stream = stream + block.lstm(block.norm(stream))[0]
            assert torch.equal(states.resid[layer], stream[0])
        want = stream[0].sub(stream[0].mean(-1, keepdim=True))
        want = want / (want.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        assert torch.allclose(states.logits, want @ model.embed.weight.T, atol=1e-5)
    for block in model.layers:
        forget = slice(16, 32)
        bias = block.lstm.bias_ih_l0 + block.lstm.bias_hh_l0
        assert torch.equal(bias[forget], torch.ones(16))


def test_the_real_settings_are_those_of_tiny_where_they_can_be():
    tiny = Settings()
    for name in ("hidden", "vocab", "seed", "held_out", "passage_chars", "stories_share"):
        assert getattr(LSTM, name) == getattr(tiny, name)
    assert LSTM.layers == 12
    assert LSTM.architecture == "lstm"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_shapes_that_are_none(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(LSTMConfig(50, 8, 2), **changes)
    with pytest.raises(InputError, match="architecture is 'gru'"):
        micro(architecture="gru")


def test_folders_that_hold_no_lstm(folder, tmp_path):
    from satlens.zoo import TINY

    with pytest.raises(ModelError, match=r"no config\.json or no model\.safetensors"):
        load(tmp_path)
    with pytest.raises(ModelError, match="holds a 'llama', not a 'residual_lstm'"):
        load(TINY)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    record = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(record | {"num_hidden_layers": 4}))
    with pytest.raises(ModelError, match=r"do not fit its config.json: layers\.3\.\S+ is missing"):
        load(tmp_path)


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of it, to be damaged."""
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_load_model_takes_the_folder(folder):
    host, own = satlens.load_model(folder), load(folder)
    assert isinstance(host, ResidualLSTM) and not host.training
    assert host.name_or_path == "small-lstm" and host.tokenizer is not None
    assert all(map(torch.equal, host.parameters(), own.parameters()))
    half = satlens.load_model(str(folder), dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert satlens.wrap(half).name == "small-lstm"
    with pytest.raises(ModelError, match="TransformerLens has no bridge for the LSTM"):
        satlens.load_model(folder, bridge=True)


def rewrite(path, text):
    path.write_text(text, encoding="utf-8")


def change(path, edit):
    weights = load_file(path)
    edit(weights)
    save_file(weights, path)


DAMAGE = {
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        r"no config\.json or no model\.safetensors",
    ),
    "half a file": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:99]
        ),
        r"The weights \S+model\.safetensors cannot be read: ",
    ),
    "another shape": (
        lambda f: change(f / "model.safetensors", lambda w: w.update({"norm.bias": torch.ones(3)})),
        r"norm\.bias is \(3,\), and \(\d+,\) is asked for",
    ),
    "one too many": (
        lambda f: change(f / "model.safetensors", lambda w: w.update({"more": torch.ones(3)})),
        "there is no place for more",
    ),
    "an unknown key": (
        lambda f: rewrite(f / "config.json", '{"model_type": "residual_lstm", "heads": 2}'),
        r"config\.json does not describe an LSTM: .*heads",
    ),
    "no number": (
        lambda f: rewrite(
            f / "config.json",
            '{"model_type": "residual_lstm", "vocab_size": "a", "hidden_size": 8,'
            ' "num_hidden_layers": 2}',
        ),
        r"config\.json does not describe an LSTM",
    ),
    "NaN": (
        lambda f: change(f / "model.safetensors", lambda w: w["norm.bias"].fill_(float("nan"))),
        r"values of norm\.bias are NaN",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_says_what_is_wrong(copied, damage):
    do, message = DAMAGE[damage]
    do(copied)
    with pytest.raises(SatlensError, match=message):
        satlens.load_model(copied)


def test_the_audit_takes_the_folder(folder, tmp_path):
    """The whole command, with its untrained twins."""
    stories = ["The dog likes the red ball.", "The cat saw a blue ball.", "The dog saw the cat."]
    rewrite(tmp_path / "texts.txt", "\n<|endoftext|>\n".join(stories))
    assert command([
        "audit", str(folder), "--corpus", str(tmp_path / "texts.txt"), "--k", "3",
        "--out", str(tmp_path / "run"),
    ]) == 0  # fmt: skip
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["model"]["name"] == "small-lstm"
    assert results["model"]["kind"] == "ResidualLSTM"
    assert (tmp_path / "run" / "report.html").is_file()
