"""Decoders: the host's own tensors and the host's own logits, or a refusal that says what differs."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import satlens
from satlens.errors import ModelError
from satlens.exits.decoder import check as decoder_check
from satlens.exits.decoder.check import check, checked_decoder
from satlens.exits.decoder.decoder import Places
from satlens.exits.decoder.hosts import decoder_of
from satlens.exits.decoder.parts import Norm, Rotary
from satlens.exits.generation.generate import generate
from satlens.models.fast_linear import PRODUCT, fast_linears, product
from tests.builders import HAS_HOOKED, random_hf, random_hooked, random_ids, to_bridge
from tests.exits.literally import HOSTS, host, literally

needs_hooked = pytest.mark.skipif(not HAS_HOOKED, reason="no HookedTransformer")


def other(kind: str, **kw):
    """A small random model of a family that tests/builders.py does not have."""
    import transformers as hf

    common = dict(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, max_position_embeddings=64, head_dim=8,
    )  # fmt: skip
    config, model = getattr(hf, f"{kind}Config"), getattr(hf, f"{kind}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = model(config(**(common | kw)))
        for parameter in made.parameters():  # biases and norms too
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


LLAMA_3 = dict(
    rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
VARIANTS = {
    "gpt2, scores divided by layer": lambda: random_hf(
        "gpt2", scale_attn_by_inverse_layer_idx=True
    ),
    "gpt2, scores not scaled": lambda: random_hf("gpt2", scale_attn_weights=False),
    "gpt2, another activation": lambda: random_hf("gpt2", activation_function="tanh"),
    "gpt2, wide inside": lambda: random_hf("gpt2", n_inner=48),
    "neox, one after the other": lambda: random_hf("gpt_neox", use_parallel_residual=False),
    "neox, without biases": lambda: random_hf("gpt_neox", attention_bias=False),
    "llama, with biases": lambda: random_hf("llama", attention_bias=True, mlp_bias=True),
    "llama, wide heads": lambda: random_hf("llama", head_dim=16),
    "llama, scaled rotary": lambda: random_hf("llama", rope_parameters=LLAMA_3),
    "mistral, window of 3": lambda: random_hf("mistral", sliding_window=3),
    "qwen 2": lambda: other("Qwen2"),
    "qwen 2, windows above": lambda: other(
        "Qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "qwen 3": lambda: other("Qwen3"),
}


NO_BRIDGE = ("gpt2, scores not scaled", "neox, without biases")
"""Bridges of the first scale all the same, those of the second cannot be built (TransformerLens 3.9, 4.3)."""


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_the_families(name):
    made = VARIANTS[name]()
    model = satlens.wrap(made)
    check(model, decoder_of(model))
    if name not in NO_BRIDGE:
        bridged = satlens.wrap(to_bridge(made))
        check(bridged, decoder_of(bridged))
    prompts = random_ids(50, [6, 2])
    got = generate(model, prompts, max_new_tokens=5, stop_at_eos=False)
    assert [t.tolist() for t in got] == [literally(model, p, None, 5)[0] for p in prompts]


HOOKED = {
    "norms without weights": dict(normalization_type="LNPre"),
    "no norm": dict(normalization_type=None, scale=1.0),
    "attention alone": dict(attn_only=True),
    "rms without weights": dict(normalization_type="RMSPre"),
    "rotary of neighbours": dict(
        positional_embedding_type="rotary", rotary_dim=4, rotary_adjacent_pairs=True
    ),
    "scores not scaled": dict(use_attn_scale=False),
    "a window": dict(use_local_attn=True, window_size=3, attn_types=["global", "local"] * 2),
    "norms of heads": dict(use_qk_norm=True, normalization_type="RMS"),
}


@needs_hooked
@pytest.mark.parametrize("name", HOOKED)
def test_variants_of_hooked_transformers(name):
    model = satlens.wrap(random_hooked(**HOOKED[name]))
    check(model, decoder_of(model))
    prompts = random_ids(50, [6, 2])
    got = generate(model, prompts, max_new_tokens=5, stop_at_eos=False)
    assert [t.tolist() for t in got] == [literally(model, p, None, 5)[0] for p in prompts]


@needs_hooked
def test_rotary_angles_behind_those_the_host_keeps():
    """A HookedTransformer keeps 2,048 of them and makes more when they are needed."""
    model = satlens.wrap(
        random_hooked(
            1, 8, 11, heads=1, n_ctx=2100, positional_embedding_type="rotary", rotary_dim=8
        )
    )
    attn = model.host.blocks[0].attn
    assert len(attn.rotary_cos) == 2048
    angles = decoder_of(model).tables(2080)
    assert torch.equal(angles.cos[:2048], attn.rotary_cos)
    prompt = random_ids(11, [2060])[0]
    made = generate(model, [prompt], max_new_tokens=2, stop_at_eos=False)
    assert made.tokens[0].tolist() == literally(model, prompt, None, 2)[0]


@pytest.mark.parametrize("name", HOSTS)
def test_weights_are_the_hosts_own(name):
    model = host(name)
    decoder = decoder_of(model)
    own = {p.untyped_storage().data_ptr() for p in model.host.parameters()}

    def tensors(part):
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, tuple):
            for each in part:
                yield from tensors(each)
        elif dataclasses.is_dataclass(part):
            for each in dataclasses.fields(part):
                yield from tensors(getattr(part, each.name))

    found = list(tensors(decoder))
    assert len(found) > 8 * decoder.n_layers
    assert all(t.untyped_storage().data_ptr() in own and not t.requires_grad for t in found)


@pytest.mark.parametrize("name", ["hf llama", "bridge gpt2"])
def test_it_is_compared_once_and_again_when_the_host_is_another(name, monkeypatch):
    model = satlens.wrap(HOSTS[name]())
    times = []
    monkeypatch.setattr(decoder_check, "check", lambda *_: times.append(1))
    for _ in range(3):
        checked_decoder(model)
    assert len(times) == 1
    for parameter in model.host.parameters():
        parameter.data.mul_(1.1)  # the same tensors
    checked_decoder(model)
    assert len(times) == 1
    first = next(model.host.parameters())
    first.data = first.data.clone()
    checked_decoder(model)
    assert len(times) == 2


def test_one_that_gives_other_logits_is_refused_with_place_and_size():
    model = satlens.wrap(random_hf("gpt2"))
    decoder = decoder_of(model)
    check(model, decoder)
    blocks = list(decoder.blocks)
    blocks[1] = dataclasses.replace(blocks[1], scale=blocks[1].scale * 1.5)
    words = (
        r"The blocks of GPT2LMHeadModel, read as those of a GPT-2, do not give its own logits: from position "
        r"1 on they differ, by up to [\d.]+ where [\d.e-]+ is allowed"
    )
    with pytest.raises(ModelError, match=words):
        check(model, dataclasses.replace(decoder, blocks=tuple(blocks)))


def test_a_forward_of_ones_own_is_noticed():
    made = random_hf("llama")
    model = satlens.wrap(made)
    generate(model, [[1, 2]], max_new_tokens=2)
    mlp = made.model.layers[1].mlp
    mlp.forward = lambda x: 2 * type(mlp).forward(mlp, x)
    with pytest.raises(ModelError, match="do not give its own logits: from position 0 on"):
        generate(model, [[1, 2]], max_new_tokens=2)
    del mlp.forward
    generate(model, [[1, 2]], max_new_tokens=2)


def test_layers_of_other_kinds_are_refused():
    class Adapted(torch.nn.Linear):
        """Adds to what it multiplies."""

        def forward(self, x):
            return super().forward(x) + 1

    made = random_hf("llama")
    attn = made.model.layers[1].self_attn
    attn.o_proj = Adapted(32, 32, bias=False).eval()
    with pytest.raises(ModelError, match="floating point, and found a .*Adapted in their place"):
        generate(made, [[1, 2]])
    del attn.o_proj
    attn.o_proj = torch.nn.Identity()
    with pytest.raises(ModelError, match="found a torch.nn.modules.linear.Identity"):
        generate(made, [[1, 2]])
    made = random_hf("llama")
    mlp = made.model.layers[0].mlp
    up = mlp.up_proj
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * up(x))
    del mlp.up_proj
    with pytest.raises(ModelError, match="are not those of a LlamaForCausalLM: .*up_proj"):
        generate(made, [[1, 2]])


@pytest.mark.parametrize("name", HOSTS)
def test_hooks_on_the_host_are_refused(name):
    model = satlens.wrap(HOSTS[name]())
    generate(model, [[1, 2]], max_new_tokens=2)
    some = list(model.host.modules())[-3]
    words = "has hooks on 1 of its modules .*so they would not run"
    for register in (some.register_forward_hook, some.register_forward_pre_hook):
        handle = register(lambda *_: None)
        with pytest.raises(ModelError, match=words):
            generate(model, [[1, 2]])
        handle.remove()
    with (
        model.hooks([(0, lambda resid, hook: None)]),
        pytest.raises(ModelError, match="has hooks on"),
    ):
        generate(model, [[1, 2]])
    if not name.startswith("hf"):
        model.host.blocks[0].hook_resid_post.add_hook(lambda resid, hook: None)
        with pytest.raises(ModelError, match=words):
            generate(model, [[1, 2]])
        model.host.reset_hooks()
    assert len(generate(model, [[1, 2]], max_new_tokens=2)) == 1


def test_rotary_embeddings_that_move_are_refused():
    moving = dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)
    with pytest.raises(
        ModelError, match="rotary embeddings of type 'dynamic' change with the length"
    ):
        generate(random_hf("llama", rope_parameters=moving), [[1, 2]])


def test_a_bridge_in_compatibility_mode():
    made = to_bridge(random_hf("gpt2"))
    made.enable_compatibility_mode()
    model = satlens.wrap(made)
    got = generate(model, [[1, 2, 3]], max_new_tokens=5, stop_at_eos=False)
    assert got.tokens[0].tolist() == literally(model, [1, 2, 3], None, 5)[0]


@pytest.mark.skipif(PRODUCT is None, reason="torch has no such call")
def test_fast_linears_are_taken_over():
    model = satlens.wrap(random_hf("gpt2"))
    assert decoder_of(model).blocks[0].mlp.up.product is F.linear
    with fast_linears(model):
        assert decoder_of(model).blocks[0].mlp.up.product is product
    assert decoder_of(model).blocks[0].mlp.up.product is F.linear


def test_masks_by_their_definition():
    pos = torch.tensor([[3, 4], [0, 1]])
    for window in (None, 2, 9):
        at = Places(None, pos, 5, level=False)
        want = [
            [[k <= p and (window is None or k > p - window) for k in range(5)] for p in row]
            for row in pos.tolist()
        ]
        assert at.mask(window)[:, 0].tolist() == want
    level = Places(None, torch.tensor([[4], [4]]), 5, level=True)
    assert level.mask(None) is None and level.mask(5) is None
    assert level.mask(2)[0, 0].tolist() == [[False, False, False, True, True]]
    assert Places(None, torch.arange(4).expand(2, 4), 4, level=True).mask(None) is None


@pytest.mark.parametrize("adjacent", [False, True])
def test_a_rotation_keeps_lengths_and_depends_on_the_distance_alone(adjacent):
    r, pos = 6, torch.arange(9)
    angle = pos[:, None] / 10 ** torch.linspace(0, 1, r // 2)
    both = angle.repeat_interleave(2, 1) if adjacent else torch.cat([angle, angle], 1)
    rotary = Rotary(both.cos(), both.sin(), adjacent)
    q, k = torch.randn(2, 1, 1, 8, generator=torch.Generator().manual_seed(0))

    def turned(x, p):
        return rotary.turn(x, rotary.at(torch.tensor([p])))[0, 0]

    assert torch.equal(turned(q, 0), q[0, 0])
    torch.testing.assert_close(turned(q, 5).norm(), q.norm())
    torch.testing.assert_close(turned(q, 5) @ turned(k, 2), turned(q, 8) @ turned(k, 5))
    assert not torch.isclose(turned(q, 5) @ turned(k, 2), turned(q, 5) @ turned(k, 5))
    assert torch.equal(turned(q, 5)[6:], q[0, 0, 6:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_rms_norm_in_each_type(dtype):
    x = torch.randn(5, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))
    w = torch.linspace(0.5, 2, 16, dtype=dtype)
    wide = x.double()
    want = wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w.double()
    got = Norm("rms", 1e-5, w)(x)
    assert got.dtype == dtype
    torch.testing.assert_close(
        got.double(), want, rtol=2e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6
    )
    assert torch.equal(Norm("none")(x), x)
