"""Gates on every kind of host: exact at both ends, the written-out loop in between, nothing left behind."""

import math

import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError, NumericsError
from satlens.routing import TokenGates, tlops_saved
from tests.builders import (
    HAS_HOOKED,
    NO_HOOKED,
    random_bridge,
    random_hf,
    random_hooked,
    random_ids,
    random_other,
    to_bridge,
)
from tests.contracts.residual_model import hooks_left
from tests.routing import by_hand

HOSTS = {
    "hooked": lambda: random_hooked(n_layers=3),
    "bridge of gpt2": lambda: random_bridge(n_layers=3),
    "bridge of llama": lambda: random_bridge(n_layers=3, family="llama"),
    "bridge of neox": lambda: random_bridge(n_layers=3, family="gpt_neox"),
    "bridge of gemma2": lambda: random_bridge(n_layers=3, family="gemma2"),
    "bridge of granite": lambda: random_bridge(
        n_layers=3, family="granite", residual_multiplier=0.5
    ),
    "gpt2": lambda: random_hf("gpt2"),
    "gpt_neox": lambda: random_hf("gpt_neox"),
    "gemma2": lambda: random_hf("gemma2"),
    "vit": lambda: random_other("vit"),
}
IDS = torch.tensor(random_ids(50, [12, 12, 12]))


@pytest.fixture(scope="module", params=HOSTS)
def model(request):
    return satlens.wrap(HOSTS[request.param]())


@pytest.fixture
def batch(model):
    inputs = [model.example] * 2 if model.reads == "images" else IDS
    if model.reads == "images":
        inputs = model.example
    return next(iter(model.batches(inputs, 3, include_bos=True)))


@pytest.fixture
def gates(model):
    return TokenGates(model)


def shape(model, batch):
    return (model.n_layers - 1, *batch.real.shape)


@torch.no_grad()
def states(model, batch):
    """Every state, and the logits, by bare hooks."""
    kept = {}
    keep = [
        (layer, lambda r, hook, layer=layer: kept.__setitem__(layer, r.clone()))
        for layer in range(model.n_layers)
    ]
    with model.hooks(keep):
        logits = model.forward(batch)
    return torch.stack([kept[layer] for layer in range(model.n_layers)]), logits


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_at_p_0_it_is_the_model_bit_for_bit(model, gates, batch, mode):
    want, want_logits = states(model, batch)
    with gates.attached(mode, torch.zeros(shape(model, batch))):
        got, got_logits = states(model, batch)
    assert torch.equal(got, want) and torch.equal(got_logits, want_logits)


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_at_p_1_a_block_is_the_identity(model, gates, batch, mode):
    clean, _ = states(model, batch)
    for block in range(1, model.n_layers):
        skip = torch.zeros(shape(model, batch))
        skip[block - 1] = 1
        with gates.attached(mode, skip):
            got, _ = states(model, batch)
        assert torch.equal(got[:block], clean[:block])
        assert torch.equal(got[block], clean[block - 1])


def test_one_token_that_skips_leaves_the_others_in_their_block_as_they_were(model, gates, batch):
    clean, _ = states(model, batch)
    skip = torch.zeros(shape(model, batch))
    skip[0, 0, 3] = 1
    with gates.attached("hard", skip):
        got, _ = states(model, batch)
    assert torch.equal(got[1, 0, 3], clean[0, 0, 3])
    others = torch.ones(batch.real.shape, dtype=torch.bool)
    others[0, 3] = False
    assert torch.equal(got[1][others], clean[1][others]), "keys and values of the token are there"


def test_routers_read_the_states_and_their_answers_are_used(model, gates, batch):
    torch.nn.init.normal_(gates.routers[0].down.weight, 0, 3)
    with torch.no_grad():
        for mode in ("soft", "hard"):
            with gates.attached(mode) as run:
                got, logits = states(model, batch)
            for i in range(model.n_layers - 1):
                assert torch.equal(run.skip[i], gates(got[i], i))
            with gates.attached(mode, run.skip):
                again, same = states(model, batch)
            assert torch.equal(got, again) and torch.equal(logits, same)
            want = 1 - run.skip if mode == "soft" else (run.skip <= 0.5).float()
            assert torch.equal(run.active, want)


def test_gradients_reach_the_gates_and_the_model(model, gates, batch):
    with gates.attached("soft") as run:
        (model.forward(batch).square().mean() + run.active.mean()).backward()
    for name, parameter in gates.named_parameters():
        assert parameter.grad is not None, name
        assert "bias" in name or parameter.grad.abs().sum() > 0, name
    of_host = [p.grad for p in model.host.parameters() if p.grad is not None]
    model.host.zero_grad(set_to_none=True)
    assert sum(float(grad.abs().sum()) for grad in of_host) > 0


def test_nothing_is_left_behind(model, gates, batch):
    with torch.no_grad():
        want = model.forward(batch)
    before = hooks_left(model.host)
    with gates.attached("soft"), torch.no_grad():
        assert len(hooks_left(model.host)) > len(before)
        changed = model.forward(batch)
    assert not torch.equal(changed, want)

    def fails(resid, hook):
        raise ArithmeticError("on purpose")

    with (
        pytest.raises(ArithmeticError),
        gates.attached("soft"),
        model.hooks([(1, fails)]),
    ):
        model.forward(batch)
    assert hooks_left(model.host) == before
    with torch.no_grad():
        assert torch.equal(model.forward(batch), want)
    with gates.attached("hard"):  # and it can be put on again
        pass


def share(n_layers, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_layers - 1, *IDS.shape, generator=generator)


def kept(skip, mode):
    factor = 1 - skip if mode == "soft" else (skip <= 0.5).float()
    return torch.cat([torch.ones(1, *IDS.shape), factor])[..., None]


@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize("family", by_hand.FAMILIES)
def test_mixed_gates_are_the_written_out_loop(family, bridged, mode):
    model = random_hf(family, scale=2.0)
    skip = share(3)
    want = by_hand.FAMILIES[family](model, IDS, kept(skip, mode))
    host = to_bridge(model) if bridged else model
    wrapped = satlens.wrap(host)
    (batch,) = wrapped.batches(IDS, 3, include_bos=True)
    with torch.no_grad(), TokenGates(wrapped).attached(mode, skip):
        got = wrapped.forward(batch)
    assert torch.allclose(got, want, atol=1e-4 * float(want.std()), rtol=1e-4)


@pytest.mark.skipif(not HAS_HOOKED, reason=NO_HOOKED)
@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize("parallel", [False, True])
def test_mixed_gates_are_the_written_out_loop_on_a_hooked_transformer(parallel, mode):
    model = random_hooked(n_layers=4, parallel_attn_mlp=parallel)
    skip = share(4)
    want = by_hand.hooked(model, IDS, kept(skip, mode))
    with torch.no_grad(), TokenGates(model).attached(mode, skip):
        assert torch.allclose(model(IDS), want, atol=1e-5, rtol=1e-5)


def test_a_model_in_bfloat16():
    model = random_bridge(n_layers=3, dtype=torch.bfloat16)
    gates = TokenGates(model)
    assert next(gates.parameters()).dtype == torch.float32
    with torch.no_grad():
        want = model(IDS)
        with gates.attached("soft", torch.zeros(2, *IDS.shape)):
            assert torch.equal(model(IDS), want)
        with gates.attached("soft") as run:
            assert model(IDS).dtype == torch.bfloat16 and run.skip.dtype == torch.float32


@pytest.mark.parametrize("d, count", [(32, 16 * 32 + 33), (64, 1057), (128, 4161), (256, 16513)])
def test_parameters_are_counted_as_published_from_width_64_on(d, count):
    model = random_hooked(n_layers=3, d=d)
    assert TokenGates(model).n_parameters == 2 * count
    assert d < 64 or count == d * d // 4 + d // 2 + 1


def test_the_published_share_of_the_model():
    """1.7 %: five routers over six blocks of 12 d^2."""
    d = 256
    assert 5 * (d * d / 4 + d / 2 + 1) / (6 * 12 * d * d) == pytest.approx(0.017, abs=0.001)


@pytest.mark.parametrize(
    "active, saved", [(1.0, 0.0), (0.0, 5 / 6), (0.3412, 0.549), (0.73, 0.225), (0.3952, 0.504)]
)
def test_tlops(active, saved):
    assert tlops_saved(active, 6) == pytest.approx(saved, abs=1e-3)
    assert tlops_saved(active, 6) == pytest.approx(5 / 6 * (1 - active))


def test_untrained_soft_gates_count_as_22_percent_saved_and_hard_ones_as_none():
    model = random_bridge(n_layers=6)
    gates = TokenGates(model)
    for router in gates.routers:
        torch.nn.init.zeros_(router.down.weight)
    saved = {}
    for mode in ("soft", "hard"):
        with torch.no_grad(), gates.attached(mode) as run:
            model(IDS)
        saved[mode] = tlops_saved(float(run.active.mean()), 6)
    assert saved["soft"] == pytest.approx(5 / 6 / (1 + math.e), abs=1e-6)
    assert saved["hard"] == 0


def test_the_seed_makes_the_gates_and_nothing_else_does():
    model = random_bridge(n_layers=3)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, two, three = (TokenGates(model, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["routers.0.up.weight"], three["routers.0.up.weight"])


def test_saved_gates_come_back(tmp_path):
    model = random_bridge(n_layers=3)
    gates = TokenGates(model, hidden=5, bias=0.5, seed=3)
    with torch.no_grad():
        gates.routers[1].down.weight.add_(1)
    gates.save(tmp_path / "gates")
    again = TokenGates.load(tmp_path / "gates.json", model)
    assert again.settings == gates.settings
    own = again.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in gates.state_dict().items())
    with pytest.raises(InputError, match="3 blocks of width 32 .*; random has 4 of width 32"):
        TokenGates.load(tmp_path / "gates", random_bridge(n_layers=4))
    (tmp_path / "gates.json").write_text("{}")
    with pytest.raises(InputError, match="holds no set of gates"):
        TokenGates.load(tmp_path / "gates", model)


def test_what_cannot_be_gated_says_why():
    with pytest.raises(ModelError, match="cannot be gated.*attn.*comes from elsewhere"):
        TokenGates(random_other("bert"))
    with pytest.raises(ModelError, match="cannot be gated"):
        TokenGates(random_other("bart"))
    with pytest.raises(ModelError, match="cannot be gated.*Its blocks have norm, mixer"):
        TokenGates(random_hf("mamba", layers=2, d=16, vocab=20, heads=2))
    with pytest.raises(ModelError, match="one block"):
        TokenGates(random_bridge(n_layers=1))


def test_wrong_use_says_what_to_do():
    model = random_bridge(n_layers=3)
    gates = TokenGates(model)
    for bad, message in [({"hidden": 0}, "width of a router"), ({"bias": math.nan}, "finite")]:
        with pytest.raises(InputError, match=message):
            TokenGates(model, **bad)
    with pytest.raises(InputError, match="mode must be one of soft, hard"), gates.attached("firm"):
        pass
    for skip in (
        torch.zeros(3, 2, 4),
        torch.full((2, 3, 12), 1.5),
        torch.full((2, 3, 12), math.nan),
    ):
        wanted = pytest.raises(InputError, match=r"float tensor \[2, batch, pos\]")
        with wanted, gates.attached("soft", skip):
            pass
    with gates.attached() as run:
        with pytest.raises(ModelError, match="no decisions yet"):
            _ = run.skip
        with pytest.raises(ModelError, match="on already"), gates.attached():
            pass
    one_each = pytest.raises(ModelError, match="needs a decision for each position")
    with one_each, gates.attached("soft", torch.zeros(2, 1, 3)):
        model(IDS)
    with pytest.raises(ModelError, match="router after block 2"):
        gates(torch.zeros(32), 2)
    with torch.no_grad():
        gates.routers[0].up.weight.fill_(math.nan)
    with pytest.raises(NumericsError, match="router after block 0"), gates.attached():
        model(IDS)
    assert not [hook for hook in hooks_left(model) if "scaled" in hook or "hooks" in hook]
