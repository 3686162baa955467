"""The page "A module of your own": its code is run as it stands there, on the real model and recordings."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

import satlens
from satlens.cli import main
from satlens.errors import ReadoutError
from satlens.models import LinearReadout, verify, weights_sha256
from satlens.order import draw_nulls, report
from satlens.patching import Edit, intervene
from tests.contracts.residual_model import CLOSE, hooks_left

PAGE = Path(__file__).parents[2] / "docs" / "own_module.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
TWIN = next(block for block in BLOCKS if "def untrained_kwt" in block).split("\n\n\nothers")[0]
WORDS = (
    "_silence_",
    "_unknown_",
    "yes",
    "no",
    "up",
    "down",
    "left",
    "right",
    "on",
    "off",
    "stop",
    "go",
)


@pytest.fixture(scope="module")
def page():
    """The functions that the page defines."""
    names: dict = {}
    for block in (BLOCKS[0], TWIN):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_adapter_is_under_thirty_lines():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert BLOCKS[0].count("def wrap_kwt") == 1
    assert len(lines) < 30


pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def kwt(assets):
    folder = assets / "models" / "kwt1"
    spec = importlib.util.spec_from_file_location("kwt", folder / "kwt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.from_pretrained(folder)


@pytest.fixture(scope="module")
def speech(assets):
    return assets / "data" / "speech"


@pytest.fixture
def model(page, kwt):
    return page["wrap_kwt"](kwt)


@torch.no_grad()
def test_scores_are_the_models_own_and_the_words_are_heard(model, kwt, speech):
    batches = model.batches(speech, 4)
    assert "left_farmaker47.wav" in batches.note
    heard = {}
    for batch in batches:
        states = model.states(batch)
        want = kwt(batch.args["inputs"])
        assert torch.equal(states.logits, want)
        assert torch.equal(kwt.head(states.resid[-1]), want)
        for doc, word in zip(states.doc.tolist(), want.argmax(-1).tolist(), strict=True):
            heard[batches.rows[doc].name.split("_")[0]] = WORDS[word]
    for word in ("down", "left", "no", "up", "yes"):
        assert heard[word] == word


@torch.no_grad()
def test_every_layer_put_in_the_last_place(model, kwt, speech):
    (batch,) = model.batches(speech, 16)
    states = model.states(batch)
    for layer in range(12):
        kept = {}
        with model.hooks([(layer, lambda resid, hook, kept=kept: kept.update(state=resid))]):
            model.forward(batch)
        with model.hooks([(11, lambda resid, hook, kept=kept: kept["state"])]):
            got = model.forward(batch)[batch.real]
        want = kwt.head(states.resid[layer])
        assert float((got - want).abs().max()) <= CLOSE * float(want.std())
    assert hooks_left(kwt) == []


def test_detect_and_order_with_nulls_and_the_untrained_twin(page, model, kwt, speech):
    before = weights_sha256(kwt)
    want = satlens.detect(model, speech, k=3, method="plain")
    events = satlens.detect(model, speech, k=3)
    assert (events.layer == want.layer).all() and (events.token == want.token).all()
    assert events.n_layers == 12
    assert len(events) == 10
    # As the page says.
    assert events.layer.mean(0).round(1).tolist() == [6.0, 9.6, 10.9]
    assert events.censored[:, 2].sum() == 9
    nulls = draw_nulls(model, speech, k=3, draws=3)
    twins = [satlens.untrained(model, seed) for seed in range(3)]
    assert len({weights_sha256(twin) for twin in twins} | {before}) == 4
    assert weights_sha256(kwt) == before
    assert torch.equal(twins[0].host.mfcc.mel, kwt.mfcc.mel)
    others = [satlens.detect(twin, speech, k=3) for twin in twins]
    assert [round(other.layer[:, 0].mean(), 1) for other in others] == [2.2, 0.8, 8.8]  # the page
    result = report(events, nulls, untrained=others, draws=100)
    assert {"rotated", "exchanged", "untrained", "permuted"} <= set(result.excess)
    assert result.verdict is not None


@torch.no_grad()
def test_a_class_token_state_in_another_recording(model, speech):
    (batch,) = model.batches([speech / "yes_tflm.wav", speech / "no_tflm.wav"], 2)
    states = model.states(batch)
    edit = Edit(layer=11, row=1, column=0, state=states.resid[11, 0])
    with intervene(model, edit):
        patched = model.forward(batch)
    assert torch.allclose(patched[1, 0], states.logits[0], atol=1e-4)
    assert torch.equal(patched[0, 0], states.logits[0])


def test_the_audit_of_a_function_in_a_file(assets, kwt, tmp_path, monkeypatch, capsys):
    """As the page says: the file made of its blocks, on the command line."""
    folder = assets / "models" / "kwt1"
    (tmp_path / "kwt1").symlink_to(folder)
    (tmp_path / "speech").symlink_to(assets / "data" / "speech")
    (tmp_path / "kwt.py").write_text((folder / "kwt.py").read_text(encoding="utf-8"))
    build = next(block for block in BLOCKS if "def build" in block)
    code = "\n\n".join([BLOCKS[0], TWIN, build])
    (tmp_path / "my_kwt.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = re.search(r"    satlens (audit my_kwt.*)", PAGE.read_text(encoding="utf-8")).group(1)
    try:
        assert main([*command.split(), "--untrained-seeds", "2"]) == 0
    finally:
        sys.modules.pop("kwt", None)
    said = capsys.readouterr().out
    assert said.startswith("KWT-1: 12 layers, width 64, on speech: 10 ")
    results = json.loads((tmp_path / "runs/kwt/results.json").read_text(encoding="utf-8"))
    assert results["model"]["weights_sha256"] == weights_sha256(kwt)
    assert results["settings"]["model"] == "my_kwt.py:build"
    found = [round(rank["mean_layer"], 1) for rank in results["saturation"]["trained"]["ranks"]]
    assert found == [6.0, 9.6, 10.9]
    assert "left_farmaker47.wav" in " ".join(results["notes"])


def test_a_wrong_readout_is_refused(model):
    other = torch.nn.LayerNorm(64).eval()
    with pytest.raises(ReadoutError, match="does not give the model's own logits"):
        verify(satlens.wrap(model, readout=LinearReadout((other,), model.host.head)))


def test_a_file_that_is_no_audio(model, tmp_path):
    (tmp_path / "x.wav").write_text("no")
    with pytest.raises(
        satlens.errors.InputError, match=r"None of 1 audio files can be read: x\.wav"
    ):
        satlens.detect(model, tmp_path)
