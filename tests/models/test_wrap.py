"""`wrap`: what it accepts, what it refuses and in which words, and that it leaves the host alone."""

import copy

import pytest
import torch
from torch import nn

from satlens.errors import ModelError, NumericsError, ReadoutError
from satlens.models import HookedModule, ResidualModel, wrap
from tests.builders import random_bridge, random_hf, random_hooked, random_ids
from tests.contracts.residual_model import hooks_left


@pytest.fixture(scope="module")
def host():
    return random_hooked(3)


@pytest.mark.parametrize("build", [random_hooked, random_bridge, random_hf])
def test_nan_and_infinite_weights_are_refused_by_name(build):
    host = build()
    name, parameter = list(host.named_parameters())[3]
    parameter.data.view(-1)[1] = float("nan")
    parameter.data.view(-1)[2] = float("-inf")
    with pytest.raises(NumericsError) as caught:
        wrap(host)
    assert str(caught.value) == (
        f"2 of {parameter.numel()} values of {name} are NaN or infinite; the model's ranking would "
        "mean nothing. Load its weights again."
    )


def test_what_is_no_model():
    with pytest.raises(ModelError, match=r"satlens\.wrap takes a model; got str\."):
        wrap("gpt2")


def test_a_module_of_no_known_kind():
    with pytest.raises(
        ModelError, match=r"Linear is of no known kind\. .*HookedTransformer.*by hand"
    ):
        wrap(nn.Linear(2, 2).eval())


def test_an_unknown_layout_lists_what_was_looked_for():
    host = random_hf("llama")
    host.model.blocks = host.model.layers
    del host.model.layers
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM has none .*model\.layers \+ model\.norm"
    ):
        wrap(host)


def test_a_head_of_another_name_is_passed_as_readout():
    host = random_hf("llama")
    host.model.final = host.model.norm
    host.model.norm = nn.Identity()  # the layers are where they always are, the norm is not
    with pytest.raises(ReadoutError):
        wrap(host, readout=lambda resid: host.lm_head(host.model.final(resid)))
    model = wrap(host, readout=host.lm_head)
    assert model.n_layers == 3


LEFT_OUT = {
    "norm": ("llama", {}, lambda host, resid: host.lm_head(resid)),
    "soft cap": (
        "gemma2",
        {"final_logit_softcapping": 0.2},
        lambda host, resid: host.lm_head(host.model.norm(resid)),
    ),
    "logit scale": (
        "cohere",
        {"logit_scale": 3.0},
        lambda host, resid: host.lm_head(host.model.norm(resid)),
    ),
    "logit divisor": (
        "granite",
        {"logits_scaling": 4.0},
        lambda host, resid: host.lm_head(host.model.norm(resid)),
    ),
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_a_readout_that_leaves_something_out_is_refused(what):
    family, settings, readout = LEFT_OUT[what]
    host = random_hf(family, **settings)
    wrap(host)
    with pytest.raises(ReadoutError, match=r"does not give the model's own logits: the largest"):
        wrap(host, readout=lambda resid: readout(host, resid))


def test_readouts_that_cannot_be(host):
    with pytest.raises(
        ReadoutError, match=r"The readout of random gives \(8, 32\); the model's logits"
    ):
        wrap(host, readout=lambda resid: resid)
    with pytest.raises(ReadoutError, match=r"The readout of random gives NoneType"):
        wrap(host, readout=lambda resid: None)
    with pytest.raises(
        ReadoutError, match=r"The readout of random fails on states of shape \(8, 32\)"
    ):
        wrap(host, readout=nn.Linear(7, 3))


def test_another_readout_for_a_wrapped_model(host):
    model = wrap(host)
    again = wrap(model, readout=lambda resid: model.readout(resid))
    assert again.host is host
    assert again.readout is not model.readout


def test_a_host_that_cannot_run_says_so():
    host = random_hooked(3)

    def broken(_module, _inputs, _output):
        raise ValueError("my own hook")

    handle = host.blocks[1].register_forward_hook(broken)
    before = hooks_left(host)
    with pytest.raises(
        ModelError, match=r"The forward pass of .* fails on a short input .*my own hook"
    ):
        wrap(host)
    assert hooks_left(host) == before
    handle.remove()


def test_nothing_is_left_on_the_host_after_an_error(host):
    before = hooks_left(host)
    with pytest.raises(ReadoutError):
        wrap(host, readout=lambda resid: resid)
    assert hooks_left(host) == before


def test_a_steering_hook_of_the_user_is_part_of_what_is_recorded(host):
    inputs = random_ids(50, [6])
    (batch,) = wrap(host).batches(inputs, 1)
    plain = wrap(host).states(batch)
    host.blocks[1].hook_resid_post.add_hook(lambda resid, hook: resid + 1)
    try:
        steered = wrap(host).states(batch)
    finally:
        host.reset_hooks()
    assert torch.equal(steered.resid[1], plain.resid[1] + 1)
    assert torch.equal(wrap(host).states(batch).resid, plain.resid)


def test_a_module_of_your_own_by_hand():
    """The README of the protocol: bring hook points, a readout and a forward pass."""
    layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).eval()
    head = nn.Linear(4, 9).eval()
    whole = nn.Sequential(layers, head).eval()
    hooked = HookedModule(whole, [layers[1], layers[2]])
    gpt = wrap(random_hf("gpt2"))
    model = ResidualModel(
        host=whole,
        name="mine",
        hook_points=tuple(block.hook_resid_post for block in hooked.blocks),
        readout=head,
        forward=lambda batch: hooked(batch.args["input_ids"][..., None].float().expand(-1, -1, 4)),
        batches=gpt.batches,
        d_model=4,
        n_outputs=9,
        attached=hooked.attached,
    )
    assert wrap(model) is model
    (batch,) = model.batches([[1, 2, 3]], 1)
    states = model.states(batch)
    assert states.resid.shape == (2, 3, 4)
    assert torch.equal(head(states.resid[-1]), states.logits)


def test_states_refuse_a_forward_pass_that_skips_layers(host):
    model = copy.copy(wrap(host))
    object.__setattr__(model, "forward", lambda batch: torch.zeros(*batch.tokens.shape, 50))
    (batch,) = model.batches([[1, 2]], 1)
    with pytest.raises(
        ModelError, match=r"The hooks after blocks \[0, 1, 2\] of random did not run"
    ):
        model.states(batch)
