"""Training: resumed is undisturbed bit for bit, what is frozen stays, and a penalty does what it says."""

import copy
import math
from dataclasses import replace

import pytest
import torch

import satlens
from satlens.errors import InputError, ModelError, NumericsError, OutputError
from satlens.routing import (
    Examples,
    TokenGates,
    TrainSettings,
    crops,
    evaluate_gates,
    train_gates,
    train_without_gates,
)
from satlens.routing.tasks import held_out
from satlens.routing.train import CHECKPOINT, losses
from tests.builders import random_bridge, random_hooked, random_other
from tests.contracts.residual_model import hooks_left
from tests.routing.toys import gated, small, source

SHORT = TrainSettings(6, save_every=2, log_every=3, lr=1e-2)


def weights(gates):
    own = {f"gates.{name}": v for name, v in gates.named_parameters()}
    own |= {f"host.{name}": v for name, v in gates.model.host.named_parameters()}
    return {name: value.detach().clone() for name, value in own.items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("joint", [True, False])
def test_stopped_and_resumed_is_undisturbed_bit_for_bit(tmp_path, joint):
    settings = replace(SHORT, joint=joint)
    whole = gated()
    want = train_gates(whole, source(), settings)
    gates = gated()
    part = train_gates(gates, source(), settings, folder=tmp_path, stop_at=3)
    assert (part.step, part.done) == (3, False)
    again = gated(seed=7) if joint else gated()  # the checkpoint, not the start, is what counts
    got = train_gates(again, source(), settings, folder=tmp_path)
    assert same(weights(again), weights(whole))
    assert got == want and want.done
    assert [row["step"] for row in want.history] == [3, 6]


def test_a_run_that_raised_goes_on_from_its_last_checkpoint(tmp_path):
    whole, gates = gated(), gated()
    train_gates(whole, source(), SHORT)
    draw = source()

    def breaks(step):
        if step == 5:
            raise KeyboardInterrupt
        return draw(step)

    with pytest.raises(KeyboardInterrupt):
        train_gates(gates, breaks, SHORT, folder=tmp_path)
    assert not gates.model.host.training and not hooks_left(gates.model.host)
    again = gated()
    train_gates(again, draw, SHORT, folder=tmp_path)
    assert same(weights(again), weights(whole))


def test_gates_alone_leave_the_model_as_it_is():
    gates = gated()
    flags = [p.requires_grad for p in gates.model.host.parameters()]
    before = weights(gates)
    train_gates(gates, source(), replace(SHORT, joint=False))
    after = weights(gates)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("host."), name
    assert [p.requires_grad for p in gates.model.host.parameters()] == flags
    assert all(p.grad is None for p in gates.model.host.parameters())


def test_both_are_trained_together_and_the_baseline_without_gates():
    gates = gated()
    before = weights(gates)
    train_gates(gates, source(), SHORT)
    assert not any(torch.equal(before[name], value) for name, value in weights(gates).items())
    model = small()
    first = copy.deepcopy(model.host.state_dict())
    run = train_without_gates(model, source(), SHORT)
    assert run.history[-1]["active"] == 1.0
    assert not torch.equal(first["lm_head.weight"], model.host.state_dict()["lm_head.weight"])


@pytest.mark.parametrize("build", [random_hooked, random_bridge])
def test_models_of_transformer_lens(build):
    gates = TokenGates(build(n_layers=3, scale=1.0))
    before = weights(gates)
    text = torch.arange(400) % 40 + 3
    run = train_gates(gates, crops(text, 4, 16), replace(SHORT, steps=25))
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    after = weights(gates)
    assert not torch.equal(before["gates.routers.0.up.weight"], after["gates.routers.0.up.weight"])


def test_the_random_state_of_the_caller_stays():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    train_gates(gated(), source(), SHORT)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_seed_is_that_of_dropout():
    finals = []
    for seed in (0, 0, 1):
        gates = gated()
        train_gates(gates, source(), replace(SHORT, seed=seed))
        finals.append(weights(gates))
    assert same(finals[0], finals[1]) and not same(finals[0], finals[2])


def test_the_loss_is_task_plus_penalty_written_out():
    gates = gated(dropout=0.0)
    examples = source()(0)
    task, active = (one.detach() for one in losses(gates.model, gates, examples))
    with torch.no_grad(), gates.attached("soft") as run:
        logits = gates.model.forward(examples.batch(gates.model))
    total, n = 0.0, 0
    for row in range(4):
        for pos in range(examples.ids.shape[1]):
            target = int(examples.target[row, pos])
            if target >= 0:
                total -= float(torch.log_softmax(logits[row, pos].double(), -1)[target])
                n += 1
    assert float(task) == pytest.approx(total / n, rel=1e-5)
    assert float(active) == pytest.approx(float((1 - run.skip).mean()), rel=1e-6)


def test_padding_counts_in_no_loss():
    gates = gated(dropout=0.0)
    one = source()(0)
    longer = torch.nn.functional.pad
    padded = Examples(
        longer(one.ids, (0, 3)),
        longer(one.target, (0, 3), value=-100),
        real=longer(one.counts, (0, 3)),
    )
    for a, b in zip(
        losses(gates.model, gates, one), losses(gates.model, gates, padded), strict=True
    ):
        assert float(a.detach()) == pytest.approx(float(b.detach()), rel=1e-5)


def test_a_large_penalty_makes_tokens_skip_and_none_keeps_blocks_that_are_needed():
    """Frozen model, so that the gates alone can answer: a planted effect, and its absence."""
    settings = TrainSettings(60, joint=False, lr=3e-2)
    active = {}
    for penalty in (0.0, 50.0):
        gates = gated(dropout=0.0)
        train_gates(gates, source(), replace(settings, penalty=penalty))
        found = evaluate_gates(gates, held_out(source(), 2))
        active[penalty] = found.active("hard").value
    assert active[50.0] == 0.0
    assert active[0.0] > 0.5


def test_other_settings_data_or_files_are_refused_and_change_nothing(tmp_path):
    train_gates(gated(), source(), SHORT, folder=tmp_path, stop_at=2)
    gates = gated(seed=5)
    before = weights(gates)
    for other, draw, message in [
        (replace(SHORT, penalty=0.5), source(), "other settings"),
        (SHORT, source(seed=1), "other source"),
    ]:
        with pytest.raises(OutputError, match=message):
            train_gates(gates, draw, other, folder=tmp_path)
    with pytest.raises(OutputError, match="other gated"):
        train_without_gates(small(), source(), SHORT, folder=tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"no")
    with pytest.raises(OutputError, match="no checkpoint"):
        train_gates(gates, source(), SHORT, folder=tmp_path)
    assert same(weights(gates), before)


def test_what_cannot_be_trained_says_why():
    for bad in (dict(steps=0), dict(penalty=-1.0), dict(lr=math.nan), dict(lr=0.0)):
        with pytest.raises(InputError, match="TrainSettings wants"):
            TrainSettings(**(dict(steps=1) | bad))
    low = TokenGates(random_bridge(n_layers=2, dtype=torch.bfloat16))
    with pytest.raises(ModelError, match="train it in float32"):
        train_gates(low, source(), SHORT)
    train_gates(low, source(), replace(SHORT, joint=False))
    with pytest.raises(InputError, match="nothing to train"):
        train_without_gates(small(), source(), replace(SHORT, joint=False))
    with pytest.raises(InputError, match="Rows of 41 tokens; the context of .* is 16"):
        train_gates(gated(), source(length=20, symbols=5), SHORT)
    with pytest.raises(ModelError, match="reads images"):
        train_gates(TokenGates(random_other("vit")), source(), SHORT)
    with pytest.raises(InputError, match="without a single target"):
        empty = Examples(torch.zeros(1, 4, dtype=torch.long), torch.full((1, 4), -100))
        train_gates(gated(), lambda step: empty, SHORT)
    gates = gated()
    with torch.no_grad():
        gates.model.host.lm_head.weight.fill_(math.nan)
    with pytest.raises(NumericsError):
        train_gates(gates, source(), SHORT)
    assert not gates.model.host.training


def test_the_bundled_model_can_be_asked_where_it_would_skip(tiny_host):
    gates = TokenGates(tiny_host)
    text = torch.tensor(satlens.wrap(tiny_host).tokenizer.encode("Lily had a red ball. " * 20))
    run = train_gates(gates, crops(text, 1, 16), TrainSettings(2, joint=False))
    assert run.done and math.isfinite(run.history[-1]["loss"])


def test_products_in_bfloat16_and_weights_in_float32(monkeypatch):
    """What a GPU does, on the CPU, whose autocast is left off otherwise."""
    want, gates = gated(), gated()
    plain = train_gates(want, source(), SHORT)
    autocast, asked = torch.autocast, []

    def on(kind, dtype, enabled):
        asked.append((kind, dtype, enabled))
        return autocast(kind, dtype, True)

    monkeypatch.setattr(torch, "autocast", on)
    done = train_gates(gates, source(), SHORT)
    assert asked[0] == ("cpu", torch.bfloat16, False)
    assert not same(weights(gates), weights(want))  # the products were rounded
    for name, value in weights(gates).items():
        assert value.dtype == torch.float32 and torch.isfinite(value).all(), name
    assert done.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.05)
