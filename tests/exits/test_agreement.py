import json

import numpy as np
import pytest
import torch

from satlens import LogitLens
from satlens.errors import InputError, OutputError
from satlens.exits import AgreementProbe, Classifier, evaluate
from tests.exits.toys import documents, preset, unit_costs, whole_numbers


def planted(words=60, layers=5):
    """Coordinate 3 is 1 where the state has arrived at its end, else 0; the readout does not see it."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(words, layers, 4, generator=generator)
    arrived = torch.randint(0, layers, (words,), generator=generator)
    for word, layer in enumerate(arrived.tolist()):
        table[word, layer:] = table[word, -1]
        table[word, :, 3] = 0
        table[word, layer:, 3] = 1
    weight = torch.randn(12, 4, generator=generator)
    weight[:, 3] = 0
    return preset(table, weight)


class TestFit:
    @pytest.mark.parametrize("per_layer", [False, True])
    def test_it_finds_what_was_planted_in_other_documents(self, per_layer):
        model = planted()
        probe = AgreementProbe.fit(model, documents(60, [20] * 10), per_layer=per_layer)
        found = evaluate(
            model, documents(60, [20] * 10, seed=1), Classifier(probe), cost=unit_costs()
        )
        row = found.table().iloc[0]
        assert row.agreement > 0.97 and row.layers_saved > 0.2 and row.excess > 0.05
        assert len(probe.weight) == (4 if per_layer else 1)

    def test_it_learns_nothing_where_there_is_nothing(self):
        model = planted()
        model.host.table.data[:, :, :] = torch.randn(model.host.table.shape)
        probe = AgreementProbe.fit(model, documents(60, [40] * 10))
        share = np.mean(probe.about["agreement"])
        (batch,) = model.batches(documents(60, [40], seed=1), 1)
        p = probe.probability(model.states(batch).resid[0], 0)
        assert abs(float(p.mean()) - share) < 0.05

    def test_it_is_a_probability_of_agreeing_with_this_lens(self):
        model = whole_numbers(seed=2)
        inputs = documents(lengths=[12] * 20)
        probe = AgreementProbe.fit(model, inputs, C=1e4)
        lens, p, y = LogitLens(model), [], []
        for batch in model.batches(inputs, 8):
            states = model.states(batch)
            final = states.logits.sort(descending=True, stable=True).indices[:, 0]
            for layer in range(4):
                top = lens.scores(states.resid[layer], layer)
                p.append(probe.probability(states.resid[layer], layer))
                y.append(top.sort(descending=True, stable=True).indices[:, 0] == final)
        assert torch.cat(p).mean().item() == pytest.approx(
            torch.cat(y).double().mean().item(), abs=1e-3
        )

    def test_one_class_only_gives_its_share(self):
        model = planted()
        model.host.table.data[:] = model.host.table.data[:, -1:]
        probe = AgreementProbe.fit(model, documents(60, [10] * 3), per_layer=True)
        p = probe.probability(torch.randn(5, 4), 0)
        assert (p > 0.95).all() and (p < 1).all() and probe.about["converged"]

    def test_the_first_documents_up_to_so_many_tokens(self):
        probe = AgreementProbe.fit(whole_numbers(), documents(lengths=[5] * 10), tokens=12)
        assert probe.about["states"] == 15 * 4

    @pytest.mark.parametrize("bad", [{"tokens": 0}, {"C": 0.0}])
    def test_settings(self, bad):
        with pytest.raises(InputError, match="must be above 0"):
            AgreementProbe.fit(whole_numbers(), documents(), **bad)

    def test_one_block(self):
        with pytest.raises(InputError, match="nowhere to leave early"):
            AgreementProbe.fit(whole_numbers(layers=1), documents())


class TestStorage:
    @pytest.fixture
    def probe(self):
        return AgreementProbe.fit(whole_numbers(), documents(), per_layer=True)

    def test_round_trip(self, probe, tmp_path):
        probe.save(tmp_path / "exit")
        again = AgreementProbe.load(tmp_path / "exit.json")
        x = torch.randn(6, 4)
        assert torch.equal(again.probability(x, 2), probe.probability(x, 2))
        assert again.about == probe.about and again.n_layers == probe.n_layers

    def test_changed_files_are_refused(self, probe, tmp_path):
        probe.save(tmp_path / "exit")
        said = json.loads((tmp_path / "exit.json").read_text())
        (tmp_path / "exit.json").write_text(json.dumps(said | {"n_layers": 9}))
        with pytest.raises(InputError, match="was changed after it was written"):
            AgreementProbe.load(tmp_path / "exit")

    def test_another_kind_of_file(self, tmp_path):
        (tmp_path / "exit.json").write_text('{"format": "other"}')
        with pytest.raises(InputError, match="holds no exit classifier of satlens"):
            AgreementProbe.load(tmp_path / "exit")

    def test_a_place_that_cannot_be_written(self, probe, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError):
            probe.save(tmp_path / "file" / "exit")


def test_numbers_are_float32():
    probe = AgreementProbe.fit(whole_numbers(), documents())
    assert {t.dtype for t in (probe.weight, probe.bias, probe.mean)} == {torch.float32}
    assert np.isfinite(probe.weight.numpy()).all()
