"""`load_model`: the same logits as transformers from every folder, and clear words for the rest."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from satlens.errors import InputError, ModelError, NumericsError
from satlens.models import load_model, weights_sha256, wrap
from satlens.models.load import locate
from tests.builders import HAS_HOOKED, random_hf, random_ids
from tests.models.hub import write_cache
from tests.models.test_inputs import make_tokenizer

KIND = "HookedTransformer" if HAS_HOOKED else "TransformerBridge"

SHAPES = {
    "llama": ("llama", {}),
    "llama-grouped-tied": ("llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama-head-dim": ("llama", {"head_dim": 16, "rms_norm_eps": 1e-3}),
    "llama-rope": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 5000.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
    ),
    "gpt2": ("gpt2", {}),
    "gpt2-odd": (
        "gpt2",
        {"n_inner": 48, "scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"},
    ),
    "neox": ("gpt_neox", {}),
    "neox-sequential": (
        "gpt_neox",
        {
            "use_parallel_residual": False,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500.0,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    "neo": ("gpt_neo", {}),
    "neo-local": ("gpt_neo", {"layers": 4}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small random Llama and its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "small-llama"
    random_hf("llama").save_pretrained(path)
    make_tokenizer(bos_token="<s>").save_pretrained(path)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_the_same_logits_and_states_as_transformers(shape, tmp_path):
    family, settings = SHAPES[shape]
    hf = random_hf(family, n_ctx=64, **settings)
    hf.save_pretrained(tmp_path)
    ids = torch.tensor(random_ids(50, [60, 60]))
    want = hf(ids).logits
    top = want.topk(5).indices
    plain = wrap(hf).states(next(iter(wrap(hf).batches(ids, 2))))
    for bridge in (False, True):
        host = load_model(tmp_path, bridge=bridge)
        assert type(host).__name__ == ("TransformerBridge" if bridge else KIND)
        assert not host.training
        got = host(ids)
        # Measured: at most 4e-6 spreads between the three, in float32.
        assert float((got - want).abs().max()) <= 2e-5 * float(want.std())
        assert torch.equal(got.topk(5).indices, top)
        model = wrap(host)
        states = model.states(next(iter(model.batches(ids, 2))))
        scale = plain.resid.std(dim=(1, 2), keepdim=True)
        assert float(((states.resid - plain.resid) / scale).abs().max()) <= 1e-4


@pytest.mark.parametrize("family", ["opt", "mistral", "gemma2"])
def test_shapes_without_a_hooked_transformer_of_ours_give_a_bridge(family, tmp_path):
    random_hf(family).save_pretrained(tmp_path)
    assert type(load_model(tmp_path)).__name__ == "TransformerBridge"


def test_a_llama_with_biases_gives_a_bridge(tmp_path):
    hf = random_hf("llama", attention_bias=True)
    for name, parameter in hf.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    hf.save_pretrained(tmp_path)
    assert type(load_model(tmp_path)).__name__ == "TransformerBridge"


def test_text_is_read_and_the_name_is_the_folders(folder):
    model = wrap(load_model(folder))
    assert model.name == "small-llama"
    (batch,) = model.batches("a b", 1)
    assert batch.tokens.tolist() == [[0, 3, 4]]
    bridge = wrap(load_model(folder, bridge=True))
    (other,) = bridge.batches("a b", 1)
    assert other.tokens.tolist() == batch.tokens.tolist()
    assert other.real.tolist() == batch.real.tolist()


@pytest.mark.parametrize("bridge", [False, True])
def test_half_precision_weights_load_as_float32_and_float32_as_half(folder, tmp_path, bridge):
    assert next(load_model(folder, bridge=bridge).parameters()).dtype == torch.float32
    half = load_model(folder, dtype=torch.bfloat16, bridge=bridge)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    wrap(half)
    random_hf("llama").to(torch.float16).save_pretrained(tmp_path)
    host = load_model(tmp_path, bridge=bridge)
    assert {p.dtype for p in host.parameters()} == {torch.float32}


def test_a_folder_without_tokenizer_reads_ids(copied, caplog):
    for file in copied.glob("token*"):
        file.unlink()
    model = wrap(load_model(copied))
    assert "has no tokenizer files: the model reads token ids, not text." in caplog.text
    assert next(iter(model.batches([[1, 2]], 1))).tokens.tolist() == [[1, 2]]
    with pytest.raises(InputError, match="is text, but the model has no tokenizer"):
        model.batches("a b", 1)


def test_a_tokenizer_that_is_broken(copied):
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"The tokenizer of .* cannot be loaded"):
        load_model(copied)


def test_a_folder_without_config(copied):
    (copied / "config.json").unlink()
    with pytest.raises(
        ModelError, match=r'has no config\.json\. Choices: "tiny" \(bundled\), a local'
    ):
        load_model(copied)


def test_a_folder_without_weights(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"'copy' cannot be loaded \(OSError: .*safetensors"):
        load_model(copied)


def test_weights_that_are_cut_off(copied):
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"'copy' cannot be loaded"):
        load_model(copied)


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_weights(copied):
    edit_weights(copied, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(
        ModelError,
        match=r"lack 1 that LlamaForCausalLM has: model\.layers\.1\.mlp\.up_proj\.weight",
    ):
        load_model(copied)


def test_weights_of_another_shape(copied):
    edit_weights(copied, lambda weights: weights.update({"model.norm.weight": torch.ones(7)}))
    with pytest.raises(ModelError, match=r"'copy' cannot be loaded"):
        load_model(copied)


def test_more_blocks_than_the_configuration_counts(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(
        ModelError, match=r"have 9 that its config\.json has no place for: model\.layers\.2"
    ):
        load_model(copied)


def test_nan_weights(copied):
    edit_weights(copied, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(NumericsError, match=r"32 of 32 values of model\.norm\.weight are NaN"):
        load_model(copied)


def test_an_architecture_nobody_knows(copied):
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "nobody", "architectures": ["NobodyForCausalLM"]}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"'copy' cannot be loaded \(ValueError: .*nobody"):
        load_model(copied)


def test_an_architecture_without_a_bridge(tmp_path):
    import transformers as hf

    config = hf.XLNetConfig(vocab_size=50, d_model=32, n_layer=2, n_head=4, d_inner=64)
    hf.XLNetLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no bridge for XLNetLMHeadModel .* pass the module"):
        load_model(tmp_path)


@pytest.mark.parametrize("asked", ["./no-such-folder", "/no/such/folder", "~/no/such", "a/b/c"])
def test_a_folder_that_does_not_exist(asked):
    with pytest.raises(ModelError, match=r"does not exist\. Choices: \"tiny\""):
        load_model(asked)


def test_a_file_is_no_folder(folder):
    with pytest.raises(ModelError, match=r"is a file, not a folder"):
        load_model(folder / "config.json")


def test_what_is_no_name():
    with pytest.raises(InputError, match="load_model takes a name or a path, got int"):
        load_model(7)


@pytest.mark.parametrize("asked", ["no-such-model", "nobody/no-such-model", "not a name"])
def test_an_unknown_name_offline(asked):
    with pytest.raises(ModelError) as caught:
        locate(asked)
    message = str(caught.value)
    assert message.startswith(
        f"The model {asked!r} is neither bundled, nor a local folder, nor reach"
    )
    assert "\n" not in message
    assert '"tiny" (bundled), a local Hugging Face folder' in message


def test_revisions_of_a_name_in_the_cache(tmp_path, monkeypatch):
    """Configuration, weights and tokenizer of each, without network."""
    write_cache(tmp_path, monkeypatch)
    hosts = {r: load_model("org/small", revision=r) for r in ("main", "step0", "step512")}
    for seed, (revision, host) in enumerate(hosts.items()):
        model = wrap(host)
        assert model.name == f"org/small@{revision}"
        ids = torch.tensor([[1, 2, 3, 4]])
        with torch.no_grad():
            want = random_hf("llama", seed=seed)(ids).logits
            assert float((host(ids) - want).abs().max()) <= 2e-5 * float(want.std())
        assert model.batches("a b", 1).rows[0].ids.tolist() == [0, 3, 4]
    assert weights_sha256(load_model("org/small")) == weights_sha256(hosts["main"])
    assert wrap(load_model("org/small")).name == "org/small"
    with pytest.raises(ModelError) as caught:
        load_model("org/small", revision="step9")
    assert "'org/small' at revision 'step9' is neither" in str(caught.value)
    assert str(caught.value).endswith("Downloaded before: main, step0, step512.")


def test_a_revision_of_what_has_none(folder, tmp_path):
    (tmp_path / "own.py").write_text("def build(): raise RuntimeError")
    for asked, kind in {"tiny": "bundled", str(folder): "a local folder",
                        f"{tmp_path}/own.py:build": "a function in a file"}.items():  # fmt: skip
        with pytest.raises(InputError, match=rf"is {kind}, and only names .* revision='step0'"):
            load_model(asked, revision="step0")
    for wrong in ("", 7):
        with pytest.raises(InputError, match="A revision is a name such as 'step1000', got"):
            load_model("org/small", revision=wrong)


REVISION_NOT_THERE = """
from satlens.errors import ModelError
from satlens.models import load_model
try:
    load_model("org/small", revision="step9")
except ModelError as error:
    print(error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that knows every name and no revision but main."""

    def do_GET(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RevisionNotFound")
        self.end_headers()

    def log_message(self, *args):
        """Nothing on standard error."""


def test_a_hub_that_has_no_such_revision(tmp_path):
    write_cache(tmp_path)
    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", REVISION_NOT_THERE],
            env=hub_at(tmp_path, hub.server_port), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        hub.shutdown()
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.strip()
    assert said.startswith("The Hugging Face hub has 'org/small', and no revision 'step9' of it")
    assert said.endswith("Downloaded before: main, step0, step512.")


def hub_at(cache, port):
    """The environment of a process that asks this machine for the hub."""
    return os.environ | {
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "PYTHONPATH": os.getcwd(),
        "NO_PROXY": "127.0.0.1",
    }


WITHOUT_NETWORK = """
import sys, time
from satlens.errors import ModelError
from satlens.models import load_model
model = load_model("org/small")
print(type(model).__name__)
begin = time.monotonic()
try:
    load_model("org/unknown")
except ModelError as error:
    print(round(time.monotonic() - begin, 1))
    print(error)
"""


def test_a_hub_that_does_not_answer(folder, tmp_path):
    """A name in the cache needs no network; any other one fails in seconds, not after retries."""
    cache = tmp_path / "models--org--small"
    shutil.copytree(folder, cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", WITHOUT_NETWORK],
            env=hub_at(tmp_path, port), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    kind, seconds, message = done.stdout.strip().splitlines()[-3:]
    assert kind == KIND
    assert float(seconds) < 10, f"{seconds} s of {time.monotonic() - begin:.0f}"
    assert message.startswith("The model 'org/unknown' is neither bundled, nor a local folder")


@pytest.mark.assets
@torch.no_grad()
def test_stories260k_both_ways(assets):
    """Real weights: both hosts, and transformers, rank the same five tokens everywhere."""
    folder = assets / "models" / "stories260k"
    hooked, bridge = wrap(load_model(folder)), wrap(load_model(folder, bridge=True))
    text = "Once upon a time there was a little girl named Lily. She loved to play in the park."
    states = [m.states(next(iter(m.batches(text, 1)))) for m in (hooked, bridge)]
    assert states[0].input.tolist() == states[1].input.tolist()
    spread = float(states[0].logits.std())
    assert float((states[0].logits - states[1].logits).abs().max()) <= 2e-5 * spread
    for layer in range(hooked.n_layers):
        tops = [
            m.readout(s.resid[layer]).topk(5).indices
            for m, s in zip((hooked, bridge), states, strict=True)
        ]
        assert torch.equal(*tops)
