"""Linear maps in place of sub-modules, on every kind of host that has them."""

import numpy as np
import pytest
import torch
from torch import nn

import satlens
from satlens.errors import InputError, ModelError
from satlens.lenses import LinearMap, SubmoduleMaps
from satlens.lenses.submodules import KINDS, find_submodules
from tests.builders import (
    random_bridge,
    random_hf,
    random_hooked,
    random_ids,
    random_other,
    to_bridge,
)
from tests.contracts.residual_model import hooks_left

HOSTS = {
    "hooked": lambda: random_hooked(n_layers=3, d=16, vocab=40),
    "bridge of gpt2": lambda: random_bridge(n_layers=3, d=16, vocab=40),
    "bridge of llama": lambda: random_bridge(n_layers=3, d=16, vocab=40, family="llama"),
    "gpt2": lambda: random_hf("gpt2", layers=3, d=16, vocab=40),
    "llama": lambda: random_hf("llama", layers=3, d=16, vocab=40),
    "gpt_neox": lambda: random_hf("gpt_neox", layers=3, d=16, vocab=40),
}
DOCS = random_ids(40, [20, 31, 9, 25, 14, 18])


@pytest.fixture(scope="module", params=HOSTS)
def model(request):
    return satlens.wrap(HOSTS[request.param]())


@pytest.fixture(scope="module")
def maps(model):
    return SubmoduleMaps.fit(model, DOCS, batch_size=3)


@pytest.fixture
def batch(model):
    return next(iter(model.batches(DOCS, 8)))


def recorded(model, batch):
    """What every sub-module reads and writes at the real positions, by bare torch hooks."""
    seen, handles = {}, []

    def record(key):
        def hook(_module, args, kwargs, output):
            given = args[0] if args else kwargs.get("hidden_states", kwargs.get("query_input"))
            output = output[0] if isinstance(output, tuple) else output
            seen[key] = given.detach()[batch.real], output.detach()[batch.real]

        return hook

    for block, parts in enumerate(find_submodules(model)):
        for kind, module in parts.items():
            handles.append(module.register_forward_hook(record((kind, block)), with_kwargs=True))
    with torch.no_grad():
        model.forward(batch)
    for handle in handles:
        handle.remove()
    return seen


def test_they_are_the_least_squares_maps_of_what_the_parts_read_and_write(model, maps, batch):
    seen = recorded(model, batch)
    assert set(seen) == set(maps.maps) == {(kind, block) for kind in KINDS for block in range(3)}
    for key, (x, y) in seen.items():
        x, y = x.double().numpy(), y.double().numpy()
        mine = x @ maps.maps[key].weight.double().numpy().T
        best = x @ np.linalg.lstsq(x, y, rcond=1e-5)[0]
        assert ((mine - y) ** 2).sum() == pytest.approx(((best - y) ** 2).sum(), rel=1e-3, abs=1e-6)
    assert maps.settings["states"] == int(batch.real.sum())


def test_the_stream_adds_up_what_the_parts_write(model, batch):
    """Attention and MLP are all that a block adds to its stream: nothing was missed."""
    seen, resid = recorded(model, batch), model.states(batch).resid
    for block in (1, 2):
        added = seen["attention", block][1] + seen["mlp", block][1]
        torch.testing.assert_close(resid[block - 1] + added, resid[block], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_inside_the_map_is_in_place_from_the_start_on_and_nowhere_else(model, maps, batch, kind):
    plain, parts = model.states(batch), recorded(model, batch)
    with maps.replaced(kind, start=1):
        changed, seen = model.states(batch), recorded(model, batch)
    assert torch.equal(changed.resid[0], plain.resid[0])
    assert not torch.equal(changed.resid[1], plain.resid[1])
    for block in (1, 2):
        x, y = seen[kind, block]
        torch.testing.assert_close(y, maps.maps[kind, block](x))
    assert torch.equal(seen[kind, 0][1], parts[kind, 0][1])
    again = model.states(batch)
    assert torch.equal(again.resid, plain.resid) and torch.equal(again.logits, plain.logits)


def test_a_map_that_gives_what_the_part_gives_changes_nothing(model, batch):
    """A part that IS linear: its map is found, and the model is the same with it in place."""
    host = random_hf("llama", layers=3, d=16, vocab=40)
    for layer in host.model.layers:
        layer.mlp = nn.Linear(16, 16, bias=False)
    linear = satlens.wrap(host)
    maps = SubmoduleMaps.fit(linear, DOCS)
    plain = linear.states(batch)
    with maps.replaced("mlp"):
        same = linear.states(batch)
    torch.testing.assert_close(same.logits, plain.logits, rtol=1e-3, atol=1e-3)
    with maps.replaced("attention"):
        other = linear.states(batch)
    assert float((other.logits - plain.logits).abs().max()) > 0.1


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_bridge_and_its_hugging_face_model_agree(family):
    host = random_hf(family, layers=3, d=16, vocab=40)
    bare, bridge = satlens.wrap(host), satlens.wrap(to_bridge(host))
    logits = []
    for model in (bare, bridge):
        maps = SubmoduleMaps.fit(model, DOCS, ridge=0.01)
        batch = next(iter(model.batches(DOCS, 8)))
        for kind in KINDS:
            with maps.replaced(kind, 1):
                logits.append(model.states(batch).logits)
    for one, other in zip(logits[:4], logits[4:], strict=True):
        if one.shape == other.shape:  # a bridge may count no BOS
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_hooks_go_on_any_error_and_those_of_the_user_stay(model, maps, batch):
    before, plain = hooks_left(model.host), model.states(batch)
    with pytest.raises(ZeroDivisionError), maps.replaced("attention"):
        raise ZeroDivisionError
    assert hooks_left(model.host) == before

    wrong = SubmoduleMaps(model, {("mlp", block): LinearMap((torch.eye(5),)) for block in range(3)})
    with pytest.raises(RuntimeError), wrong.replaced("mlp"):
        model.states(batch)
    assert hooks_left(model.host) == before

    calls = []
    handle = find_submodules(model)[1]["mlp"].register_forward_hook(
        lambda *_: calls.append(1)  # gives None: the output stays
    )
    with maps.replaced("mlp"):
        model.states(batch)
    assert calls
    handle.remove()
    assert torch.equal(model.states(batch).resid, plain.resid)
    assert hooks_left(model.host) == before


def test_an_error_while_fitting_leaves_no_hook(model, monkeypatch):
    before = hooks_left(model.host)

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("satlens.lenses.submodule_maps.Moments.update", broken)
    with pytest.raises(ZeroDivisionError):
        SubmoduleMaps.fit(model, DOCS)
    assert hooks_left(model.host) == before


def test_a_host_with_other_parts_is_refused_with_what_was_looked_for():
    model = satlens.wrap(random_other("bart"))
    pairs = [(document, [0, *document]) for document in DOCS[:2]]
    with pytest.raises(
        ModelError, match="not where they are looked for: found .* Each block must have ln1"
    ):
        SubmoduleMaps.fit(model, pairs, ridge=0.1)


@pytest.mark.parametrize("family", ["opt", "phi"])
def test_a_hugging_face_family_with_other_names_is_refused(family):
    model = satlens.wrap(random_hf(family, layers=2, d=16, vocab=40))
    with pytest.raises(ModelError, match=r"found blocks with .*Llama or GPT-NeoX family"):
        SubmoduleMaps.fit(model, DOCS, ridge=0.1)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m: SubmoduleMaps.fit(m, DOCS, kinds=("heads",)), "'heads'; known are norm1, attention"),
        (lambda m: SubmoduleMaps.fit(m, DOCS, kinds=()), "No kinds of sub-modules to fit"),
        (lambda m: SubmoduleMaps.fit(m, [[1, 2, 3]]), r"a map from norm1 of block 0: n = [23], .*d = 16"),
        (lambda m: SubmoduleMaps.fit(m, DOCS, ridge=-1), "ridge must be"),
        (lambda m: SubmoduleMaps.fit(m, DOCS, kinds=("mlp",)).replaced("norm1").__enter__(),
         "There is a map of mlp here; asked for 'norm1'"),
        (lambda m: SubmoduleMaps.fit(m, DOCS).replaced("mlp", 3).__enter__(), "start must be a block of"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_was_found(call, words):
    with pytest.raises(InputError, match=words):
        call(satlens.wrap(random_hooked(n_layers=3, d=16, vocab=40)))


def test_submodules_that_a_block_goes_round_are_told():
    bert = satlens.wrap(random_other("bert"))
    before = hooks_left(bert.host)  # a bridge may have some of its own
    with pytest.raises(ModelError, match="mlp of block 0 of bert .* is not run in a forward pass"):
        SubmoduleMaps.fit(bert, random_ids(50, [20, 20, 20]), ridge=0.1)
    assert hooks_left(bert.host) == before
