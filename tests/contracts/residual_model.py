"""What every `ResidualModel` must do. Inherit and give `host` (and `inputs`, where ids do not fit).

The oracle needs no knowledge of the readout: replace the last block's output by layer l's state, and
the model's own logits must be the readout of layer l's state.
"""

import pytest
import torch
from torch import Tensor, nn

import satlens
from satlens.errors import ModelError, ReadoutError
from satlens.lenses import LogitLens
from satlens.models import Batch, ResidualModel, States, weights_sha256, wrap
from satlens.saturation.method import Scan
from tests.builders import random_ids

# |difference| in units of the logits' spread, where the order of operations may differ: one row alone
# against a padded batch of rows. Measured over the hosts of tests/models: at most 4e-6.
CLOSE = 2e-5


def hooks_left(host: nn.Module) -> list[str]:
    """Forward hooks anywhere in a host, by module and name."""
    return [
        f"{name}: {hook}" for name, module in host.named_modules() for hook in module._forward_hooks
    ]


def spread(logits: Tensor) -> float:
    return float(logits.double().std())


class ResidualModelContract:
    """The checks; test modules inherit this class once per kind of host."""

    n_layers: int

    @pytest.fixture(autouse=True)
    def no_gradients(self):
        with torch.no_grad():
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls) -> nn.Module:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        return random_ids(50, [5, 12, 3, 12])

    @pytest.fixture
    def model(self, host) -> ResidualModel:
        return wrap(host)

    def states(self, model: ResidualModel, inputs, batch_size: int = 4, **kw) -> list[States]:
        return [model.states(batch) for batch in model.batches(inputs, batch_size, **kw)]

    def first(self, model: ResidualModel, inputs) -> Batch:
        return next(iter(model.batches(inputs, 4)))

    def test_shapes_and_types(self, model, host, inputs):
        assert model.host is host
        assert model.n_layers == self.n_layers
        batch = self.first(model, inputs)
        states = model.states(batch)
        n = int(batch.real.sum())
        assert states.resid.shape == (self.n_layers, n, model.d_model)
        assert states.logits.shape == (n, model.n_outputs)
        assert states.doc.shape == states.pos.shape == states.input.shape == (n,)
        assert states.resid.dtype == next(host.parameters()).dtype
        assert states.resid.device == model.device

    def test_states_are_the_same_without_logits(self, model, inputs):
        batch = self.first(model, inputs)
        with_logits, without = model.states(batch), model.states(batch, logits=False)
        assert torch.equal(without.resid, with_logits.resid)
        assert without.logits.shape == (0, model.n_outputs)
        assert all(not point._forward_hooks for point in model.hook_points)

    def test_its_readout_ends_in_a_linear_map(self, model):
        assert Scan(LogitLens(model)).linear

    def test_every_method_gives_the_same_events(self, model, inputs):
        want = satlens.detect(model, inputs, k=3, method="plain")
        for method in ("backward", "certified"):
            events = satlens.detect(model, inputs, k=3, method=method)
            assert (events.layer == want.layer).all() and (events.token == want.token).all()

    def test_readout_of_the_last_state_is_the_models_logits(self, model, inputs):
        for states in self.states(model, inputs):
            worst = (model.readout(states.resid[-1]) - states.logits).abs().max()
            assert float(worst) <= CLOSE * spread(states.logits)

    def test_readout_keeps_leading_shapes(self, model, inputs):
        resid = model.states(self.first(model, inputs)).resid[:, :2]
        together = model.readout(resid)
        assert together.shape == (*resid.shape[:-1], model.n_outputs)
        alone = model.readout(resid[0, 0])
        assert torch.allclose(together[0, 0], alone, atol=CLOSE * spread(together))

    def test_oracle_every_layer_put_in_the_last_place(self, model, inputs):
        """logits(model with h_{L-1} := h_l) == the logit lens at h_l, at every layer, of every row."""
        batch = self.first(model, inputs)
        states, lens = model.states(batch), LogitLens(model)
        for layer in range(model.n_layers):
            kept = {}
            with model.hooks([(layer, lambda resid, hook, kept=kept: kept.update(state=resid))]):
                model.forward(batch)
            with model.hooks([(model.n_layers - 1, lambda resid, hook, kept=kept: kept["state"])]):
                logits = model.forward(batch)[batch.real]
            worst = (logits - lens.scores(states.resid[layer], layer)).abs().max()
            assert float(worst) <= CLOSE * spread(logits), f"layer {layer}"
            # Another answer than the model's own, so the check can fail.
            changed = not torch.allclose(logits, states.logits, atol=CLOSE * spread(logits))
            assert changed or layer == model.n_layers - 1

    def test_a_causal_model_reads_nothing_behind_a_position(self, model, inputs):
        """Another last state at layer 0 changes earlier logits if and only if the model is not causal."""
        batch = self.first(model, inputs)
        # The longest row: its last real position is read by every other one, where anything is.
        row = int(batch.real.sum(1).argmax())
        last = int(batch.real[row].nonzero().max())
        if last == 0:
            return  # one position a row: nothing is behind it

        def other(resid: Tensor, hook) -> Tensor:
            resid = resid.clone()
            resid[row, last] += torch.linspace(-3, 3, resid.shape[-1]).to(resid)
            return resid

        before = model.forward(batch)[row, :last]
        with model.hooks([(0, other)]):
            after = model.forward(batch)[row, :last]
        changed = float((after - before).abs().max()) > CLOSE * spread(before)
        assert not (model.causal and changed)
        # A decoder reads from left to right, but its rows are never cut, nor continued alone.
        assert model.causal or changed or isinstance(self, PairContract)

    def test_layers_differ(self, model, inputs):
        resid = self.states(model, inputs)[0].resid
        for layer in range(1, model.n_layers):
            assert not torch.equal(resid[layer - 1], resid[layer])

    def test_hooks_are_removed_and_nothing_is_changed(self, host, inputs):
        before_hooks, before = hooks_left(host), weights_sha256(host)
        model = wrap(host)
        batch = self.first(model, inputs)
        logits = model.forward(batch)
        self.states(model, inputs)
        with model.hooks([(0, lambda resid, hook: resid * 2)]):
            assert not torch.equal(model.forward(batch), logits)
        assert torch.equal(model.forward(batch), logits)
        assert hooks_left(host) == before_hooks
        assert weights_sha256(host) == before

    def test_hooks_are_removed_after_an_error_inside_a_hook(self, host, model, inputs):
        batch = self.first(model, inputs)
        logits, before_hooks = model.forward(batch), hooks_left(host)

        def broken(resid, hook):
            raise ZeroDivisionError("inside the hook")

        with pytest.raises(ZeroDivisionError), model.hooks([(0, lambda r, hook: r), (1, broken)]):
            model.forward(batch)
        assert hooks_left(host) == before_hooks
        assert torch.equal(model.forward(batch), logits)

    def test_a_hook_of_the_user_acts_and_stays(self, model, host, inputs):
        batch = self.first(model, inputs)
        plain = model.states(batch)
        calls = []

        def steer(_module, _inputs, output):
            calls.append(1)
            return output + 1

        handle = model.hook_points[0].register_forward_hook(steer)
        try:
            with model.attached():
                steered = model.states(batch)
            assert torch.equal(steered.resid[0], plain.resid[0] + 1)
            assert not torch.equal(steered.logits, plain.logits)
            n = len(calls)
            with model.attached():
                model.forward(batch)
            assert len(calls) == n + 1
        finally:
            handle.remove()
        assert torch.equal(model.states(batch).resid, plain.resid)

    def test_a_hook_after_a_layer_that_is_not_there(self, model):
        with (
            pytest.raises(ModelError, match=rf"blocks 0 to {self.n_layers - 1}"),
            model.hooks([(self.n_layers, lambda resid, hook: resid)]),
        ):
            pass

    def test_free_of_gradients(self, model, inputs):
        with torch.enable_grad():
            states = self.states(model, inputs)[0]
        assert not states.resid.requires_grad
        assert not states.logits.requires_grad

    def test_every_position_once_and_batch_size_changes_nothing(self, model, inputs):
        def table(batch_size):
            rows = {}
            for states in self.states(model, inputs, batch_size):
                for i in range(len(states.doc)):
                    key = (int(states.doc[i]), int(states.pos[i]))
                    assert key not in rows
                    rows[key] = states.logits[i]
            return rows

        one, many = table(1), table(3)
        assert one.keys() == many.keys()
        for key, logits in one.items():
            assert float((logits - many[key]).abs().max()) <= CLOSE * spread(logits), key

    def test_padding_on_either_side_gives_the_same_rows(self, model, inputs):
        plain, left, right = (
            self.states(model, padded)
            for padded in (inputs, self.padded(inputs, "left"), self.padded(inputs, "right"))
        )
        for a, b, c in zip(plain, left, right, strict=True):
            for field in ("resid", "logits", "doc", "pos", "input"):
                assert torch.equal(getattr(a, field), getattr(b, field)), field
                assert torch.equal(getattr(a, field), getattr(c, field)), field

    def padded(self, documents, side: str) -> dict[str, Tensor]:
        """The documents as a tokenizer would give them, padded with an id that means nothing."""
        ids, mask = pad(documents, side)
        return {"input_ids": ids, "attention_mask": mask}

    def test_wrap_is_idempotent(self, model):
        assert wrap(model) is model

    def test_a_wrong_readout_is_refused(self, host, model):
        with pytest.raises(ReadoutError, match=r"largest difference .* Pass readout="):
            wrap(host, readout=lambda resid: model.readout(resid * 0.5 + 0.1) + 1)

    def test_training_mode_is_refused(self, host):
        host.train()
        try:
            with pytest.raises(ModelError, match=r"is in training mode.*model\.eval\(\)"):
                wrap(host)
        finally:
            host.eval()


def pad(documents, side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask of ragged documents, padded on one side with the id 7."""
    longest = max(map(len, documents))
    ids = torch.full((len(documents), longest), 7)
    mask = torch.zeros_like(ids)
    for row, document in enumerate(documents):
        n = len(document)
        where = slice(longest - n, longest) if side == "left" else slice(0, n)
        ids[row, where] = torch.tensor(document)
        mask[row, where] = 1
    return ids, mask


class PairContract(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        sources, targets = random_ids(50, [4, 9, 2, 9]), random_ids(50, [6, 3, 8, 3], seed=1)
        return [(source, [0, *target]) for source, target in zip(sources, targets, strict=True)]

    def padded(self, documents, side):
        sources, targets = zip(*documents, strict=True)
        ids, mask = pad(sources, side)
        decoder_ids, decoder_mask = pad(targets, side)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": decoder_ids,
            "decoder_attention_mask": decoder_mask,
        }
