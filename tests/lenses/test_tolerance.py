import numpy as np
import pytest
import torch
from torch import nn

import satlens
from satlens.errors import InputError
from satlens.lenses import SubmoduleMaps, tolerance
from satlens.lenses.agreement import agreement
from tests.builders import random_hf, random_ids

TRAIN, TEST = random_ids(40, [30] * 12, seed=1), random_ids(40, [20, 12, 9], seed=2)


@pytest.fixture(scope="module")
def model():
    """A Llama whose MLPs are linear: a map in their place is the part itself."""
    host = random_hf("llama", layers=4, d=16, vocab=40)
    generator = torch.Generator().manual_seed(0)
    for layer in host.model.layers:
        layer.mlp = nn.Linear(16, 16, bias=False)
        layer.mlp.weight.data = torch.randn(16, 16, generator=generator) / 8
        layer.self_attn.o_proj.weight.data *= 20  # so that attention matters
    return satlens.wrap(host)


@pytest.fixture(scope="module")
def maps(model):
    return SubmoduleMaps.fit(model, TRAIN)


def test_the_part_that_is_linear_tolerates_it_and_the_others_do_not(model, maps):
    found = tolerance(model, TEST, maps)
    assert found.methods == (
        "norm1", "attention", "norm2", "mlp",
        "norm1, mean", "attention, mean", "norm2, mean", "mlp, mean",
    )  # fmt: skip
    assert found.layers == (0, 1, 2)
    assert (found.estimate("mlp", "precision@1").value == 1).all()
    assert found.estimate("mlp", "r2").value == pytest.approx([1, 1, 1], abs=1e-3)
    assert (found.estimate("mlp", "kl").value < 1e-3).all()
    for other in ("attention", "norm1", "norm2", "mlp, mean"):
        assert (found.difference("mlp", other, "kl").high < 0).all()
    # The more blocks are replaced, the further from the full model.
    assert (np.diff(found.estimate("attention", "r2").value) > 0).all()


def test_the_numbers_are_those_of_the_changed_model(model, maps):
    found = tolerance(model, TEST, maps, layers=[1], batch_size=2)
    batch = next(iter(model.batches(TEST, 8)))
    full = model.states(batch)
    for kind in ("attention", "norm2"):
        for by, name in (("map", kind), ("mean", f"{kind}, mean")):
            with maps.replaced(kind, 2, by=by):
                changed = model.states(batch)
            want = agreement(changed.logits, full.logits).mean(0)
            got = found.estimate(name, "kl").value[0]
            assert got == pytest.approx(float(want[4]), rel=1e-3, abs=1e-5)


def test_the_mean_in_place_is_the_mean_output(model, maps):
    batch = next(iter(model.batches(TRAIN, 20)))
    seen = []
    part = model.host.model.layers[3].mlp
    handle = part.register_forward_hook(lambda _m, _i, out: seen.append(out[batch.real]))
    model.states(batch)
    handle.remove()
    mean = seen[0].mean(0)
    np.testing.assert_allclose(maps.means["mlp", 3], mean.detach(), atol=1e-4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m, maps: tolerance(m, TEST, maps, layers=[3]), r"must be some of 0 to 2; got \[3\]"),
        (lambda m, maps: tolerance(m, TEST, maps, layers=[]), r"must be some of 0 to 2; got \[\]"),
        (lambda m, maps: tolerance(random_hf("llama", layers=4, d=16, vocab=40), TEST, maps),
         "the model given is another one"),
        (lambda m, maps: maps.replaced("mlp", 0, by="zero").__enter__(), "'map' or 'mean'; got 'zero'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_was_found(model, maps, call, words):
    with pytest.raises(InputError, match=words):
        call(model, maps)
