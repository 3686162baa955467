import dataclasses
import json

import pytest
import torch

import satlens
from satlens.errors import InputError, NumericsError
from satlens.lenses import LinearLens, LogitLens, TunedLens, TunedLensTrainer
from satlens.saturation.method import Scan
from tests.builders import random_bridge, random_hooked, random_ids
from tests.contracts.lens import LensContract
from tests.lenses.toys import linear_model

DOCS = random_ids(40, [20, 31, 9, 25, 14, 18])


@pytest.fixture(scope="module")
def host():
    return random_hooked(n_layers=4, d=16, vocab=40)


class TestTuned(LensContract):
    @pytest.fixture
    def lens(self, model):
        return TunedLens.fit(model, DOCS, epochs=2, batch_size=3)

    def test_it_ends_in_the_models_own_head(self, lens):
        assert isinstance(lens, LinearLens) and Scan(lens).linear

    def test_every_method_gives_the_same_events(self, lens, model):
        want = satlens.detect(model, DOCS, k=3, lens=lens, method="plain")
        for method in ("backward", "certified", "auto"):
            events = satlens.detect(model, DOCS, k=3, lens=lens, method=method)
            assert (events.layer == want.layer).all() and (events.token == want.token).all()

    def test_a_loaded_one_gives_the_same_bit_for_bit(self, lens, model, states, tmp_path):
        lens.save(tmp_path / "t")
        again = TunedLens.load(tmp_path / "t", model)
        for layer in range(model.n_layers):
            assert torch.equal(
                again.scores(states.resid[layer], layer), lens.scores(states.resid[layer], layer)
            )
        assert dict(again.settings) == dict(lens.settings) and again.identity == lens.identity


@torch.no_grad()
def divergence(model, lens, docs):
    """Mean KL to the final output by layer, by its definition."""
    states = [model.states(batch) for batch in model.batches(docs, 8)]
    resid = torch.cat([one.resid for one in states], 1)
    final = torch.cat([one.logits for one in states]).double().softmax(-1)
    result = []
    for layer in range(model.n_layers - 1):
        own = lens.scores(resid[layer], layer).double().softmax(-1)
        result.append(float((final * (final / own).log()).sum(-1).mean()))
    return result


def test_it_starts_as_the_logit_lens(host):
    model = satlens.wrap(host)
    lens = TunedLens.identity_of(model)
    want, got = satlens.detect(model, DOCS, k=5), satlens.detect(model, DOCS, k=5, lens=lens)
    assert (got.layer == want.layer).all()
    states = model.states(next(iter(model.batches(DOCS, 8))))
    trainer = TunedLensTrainer(model)
    assert torch.equal(trainer.lens().scores(states.resid[1], 1), model.readout(states.resid[1]))
    assert trainer.step(states).tolist() == pytest.approx(
        divergence(model, LogitLens(model), DOCS), rel=1e-4
    )


def test_training_lowers_the_divergence_on_new_documents_at_every_layer():
    model = linear_model(n_layers=3, d=8, vocab=30)
    train, test = random_ids(30, [30] * 60, seed=1), random_ids(30, [30] * 10, seed=2)
    lens = TunedLens.fit(model, train, epochs=6, lr=0.02, batch_size=4)
    before, after = divergence(model, LogitLens(model), test), divergence(model, lens, test)
    assert all(b < 0.25 * a for a, b in zip(before, after, strict=True))


def test_a_step_is_adam_on_the_divergence(host):
    """The first step by hand: autograd on the whole loss, and Adam's first step, lr * sign-like."""
    model = satlens.wrap(host)
    states = model.states(next(iter(model.batches(DOCS, 8))))
    trainer = TunedLensTrainer(model, lr=0.01)
    losses = trainer.step(states)
    assert all(p.grad is None for p in host.parameters())
    weight = torch.zeros(3, 16, 16, requires_grad=True)
    bias = torch.zeros(3, 16, requires_grad=True)
    p = states.logits.log_softmax(-1)
    for layer in range(3):
        h = states.resid[layer]
        q = model.readout(h + h @ weight[layer].T + bias[layer]).log_softmax(-1)
        loss = torch.nn.functional.kl_div(q, p, reduction="batchmean", log_target=True)
        assert loss.item() == pytest.approx(losses[layer].item(), rel=1e-4)
        loss.backward(inputs=[weight, bias])
    for grad, moved in ((weight.grad, trainer.weight), (bias.grad, trainer.bias)):
        clear = grad.abs() > 1e-5
        want = -0.01 * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(moved[clear], want[clear], rtol=1e-3, atol=1e-6)


def test_chunks_of_tokens_make_the_same_step(host, monkeypatch):
    model = satlens.wrap(host)
    states = model.states(next(iter(model.batches(DOCS, 8))))
    whole, parts = TunedLensTrainer(model), TunedLensTrainer(model)
    one = whole.step(states)
    monkeypatch.setattr("satlens.lenses.trainer.ROWS", 7)
    torch.testing.assert_close(parts.step(states), one, rtol=1e-5, atol=1e-7)
    moments = [one.optimizer.state[one.weight]["exp_avg"] for one in (parts, whole)]
    torch.testing.assert_close(*moments, rtol=1e-3, atol=1e-7)


def test_the_seed_decides_the_order_and_the_tokens(host):
    def trained(seed):
        return TunedLens.fit(host, DOCS, seed=seed, tokens=10, batch_size=2, epochs=2)

    one, again, other = trained(0), trained(0), trained(1)
    assert torch.equal(one.weight, again.weight) and not torch.equal(one.weight, other.weight)
    assert one.settings["steps"] == 6 and one.settings["tokens"] == 10


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("length", [{"epochs": 3}, {"steps": 9}, {"steps": 10}])
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(host, tmp_path, monkeypatch, at, length):
    settings = {**length, "batch_size": 2}
    undisturbed = TunedLensTrainer(host, tokens=12).fit(DOCS, **settings)
    stopped = TunedLensTrainer(host, tokens=12)
    own = stopped.step

    def step(states, lr):
        if stopped.steps == at:
            raise Stopped
        return own(states, lr)

    monkeypatch.setattr(stopped, "step", step)
    with pytest.raises(Stopped):
        stopped.fit(DOCS, checkpoint=tmp_path / "c", every=1, **settings)
    resumed = TunedLensTrainer.resume(tmp_path / "c", host)
    assert resumed.steps == at
    resumed.fit(DOCS, **settings)
    assert resumed.steps == undisturbed.steps == length.get("steps", 9)
    assert torch.equal(resumed.weight, undisturbed.weight)
    assert torch.equal(resumed.bias, undisturbed.bias)
    assert dict(resumed.lens().settings) == dict(undisturbed.lens().settings)
    for name, tensor in undisturbed._tensors().items():
        assert torch.equal(resumed._tensors()[name], tensor), name


def test_a_checkpoint_of_a_fresh_trainer_and_a_run_after_a_finished_one(host, tmp_path):
    trainer = TunedLensTrainer(host)
    trainer.save(tmp_path / "c")
    again = TunedLensTrainer.resume(tmp_path / "c.json", host)
    assert again.steps == 0 and not again._run
    again.fit(DOCS, checkpoint=tmp_path / "c").fit(DOCS[:3])
    assert again.steps == 2
    assert TunedLensTrainer.resume(tmp_path / "c", host).steps == 1


def test_a_stopped_run_goes_on_with_its_own_inputs_only(host, tmp_path, monkeypatch):
    trainer = TunedLensTrainer(host)
    own = trainer.step

    def step(states, lr):
        if trainer.steps == 1:
            raise Stopped
        return own(states, lr)

    monkeypatch.setattr(trainer, "step", step)
    with pytest.raises(Stopped):
        trainer.fit(DOCS, batch_size=2)
    monkeypatch.setattr(trainer, "step", own)
    with pytest.raises(InputError, match="stopped after 1 of 3 steps, and its inputs_sha256 was"):
        trainer.fit(DOCS[:5], batch_size=2)
    with pytest.raises(InputError, match="its total was 3; now it is 6. Go on with the inputs"):
        trainer.fit(DOCS, batch_size=2, epochs=2)
    assert trainer.fit(DOCS, batch_size=2).steps == 3


def test_another_model_and_changed_files_are_refused(host, tmp_path):
    trainer = TunedLensTrainer(host).fit(DOCS)
    trainer.save(tmp_path / "c")
    trainer.lens().save(tmp_path / "t")
    other = random_hooked(n_layers=4, d=16, vocab=40, seed=1)
    with pytest.raises(InputError, match="The checkpoint .*c.json is of the model"):
        TunedLensTrainer.resume(tmp_path / "c", other)
    with pytest.raises(InputError, match="The tuned lens .*t.json is of the model"):
        TunedLens.load(tmp_path / "t", other)
    with pytest.raises(InputError, match="holds no tuned lens of satlens"):
        TunedLens.load(tmp_path / "c", host)
    said = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps(said | {"name": "other"}))
    with pytest.raises(InputError, match="Save the tuned lens again"):
        TunedLens.load(tmp_path / "t", host)


def test_a_loss_that_is_not_finite_changes_nothing(host):
    model = satlens.wrap(host)
    trainer = TunedLensTrainer(model)
    states = model.states(next(iter(model.batches(DOCS, 8))))
    broken = states.resid.clone()
    broken[1, 3] = float("nan")
    with pytest.raises(NumericsError, match="at step 0: the model overflows .* or lr=0.025 is too"):
        trainer.step(dataclasses.replace(states, resid=broken))
    assert not trainer.weight.any() and trainer.steps == 0


def test_bfloat16_is_trained_in_float32():
    model = satlens.wrap(random_bridge(n_layers=3, d=16, vocab=40, dtype=torch.bfloat16))
    lens = TunedLens.fit(model, DOCS)
    assert lens.weight.dtype == torch.float32 and lens.weight.any()
    states = model.states(next(iter(model.batches(DOCS, 8))))
    assert lens.transport(states.resid[0], 0).dtype == torch.bfloat16


def a_lens(host):
    return TunedLens.identity_of(host)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda h: TunedLens.fit(h, DOCS, lr=0), "lr must be above 0, got 0"),
        (lambda h: TunedLens.fit(h, DOCS, tokens=0), "tokens must be a whole number of at least 1, or None"),
        (lambda h: TunedLens.fit(h, DOCS, epochs=0), "epochs must be a whole number of at least 1, got 0"),
        (lambda h: TunedLensTrainer(random_hooked(n_layers=1)), "has one block: there is no layer"),
        (lambda h: a_lens(h).transport(torch.ones(1, 16), 0, 2), "to the last layer, 3; got to=2. A Linear"),
        (lambda h: a_lens(h).transport(torch.ones(1, 8), 0), r"of width 16; got \(1, 8\)"),
        (lambda h: a_lens(h).transport(torch.ones(1, 16), -1), "0 to 3; got -1"),
        (lambda h: TunedLens(h, torch.zeros(2, 16, 16), torch.zeros(2, 16)), r"weight \(3, 16, 16\) and"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_was_found(host, call, words):
    with pytest.raises(InputError, match=words):
        call(host)
