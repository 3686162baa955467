"""A Hugging Face module behind hook points: its own outputs, removable, and open to TransformerLens."""

import pytest
import torch

from satlens.models import HookedModule, wrap
from tests.builders import random_hf
from tests.contracts.residual_model import hooks_left

IDS = torch.arange(1, 9)[None]


@pytest.fixture
def host():
    return random_hf("llama")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def test_outputs_are_the_models_own(host):
    want = host(IDS, output_hidden_states=True)
    before = hooks_left(host)  # transformers keeps hooks of its own to collect the states
    got = HookedModule(host, host.model.layers)(IDS, output_hidden_states=True)
    assert torch.equal(got.logits, want.logits)
    assert type(got) is type(want)
    for a, b in zip(got.hidden_states, want.hidden_states, strict=True):
        assert torch.equal(a, b)
    assert hooks_left(host) == before


def test_states_are_those_behind_the_layers(host):
    hooked = HookedModule(host, host.model.layers)
    seen = {}
    handles = [
        layer.register_forward_hook(
            lambda _m, _i, out, index=index: seen.update(
                {index: out[0] if isinstance(out, tuple) else out}
            )
        )
        for index, layer in enumerate(host.model.layers)
    ]
    _, cache = hooked.run_with_cache(IDS)
    for handle in handles:
        handle.remove()
    assert set(cache) == {f"blocks.{index}.hook_resid_post" for index in range(3)}
    for index, state in seen.items():
        assert torch.equal(cache[f"blocks.{index}.hook_resid_post"], state)


def test_run_with_hooks_intervenes_and_leaves_nothing(host):
    hooked = HookedModule(host, host.model.layers)
    want = host(IDS).logits
    name = "blocks.1.hook_resid_post"
    changed = hooked.run_with_hooks(IDS, fwd_hooks=[(name, lambda resid, hook: resid * 0)]).logits
    assert not torch.equal(changed, want)
    assert torch.equal(hooked(IDS).logits, want)
    assert hooks_left(host) == []


def test_hooks_act_on_the_host_itself_only_inside_the_context(host):
    model = wrap(host)
    want = host(IDS).logits
    with model.hooks([(2, lambda resid, hook: resid * 0)]):
        assert not torch.equal(host(IDS).logits, want)
    assert torch.equal(host(IDS).logits, want)
    assert hooks_left(host) == []


def test_generate_runs_under_a_hook(host):
    model = wrap(host)
    settings = dict(max_new_tokens=4, do_sample=False, pad_token_id=0)
    plain = host.generate(IDS, **settings)
    calls = []
    with model.hooks([(0, lambda resid, hook: calls.append(resid.shape[1]))]):
        hooked = host.generate(IDS, **settings)
    assert torch.equal(plain, hooked)
    assert calls == [8, 1, 1, 1]  # once a step: a state never passes its hooks twice


def test_a_state_passes_its_hooks_once_though_attached_twice(host):
    hooked = HookedModule(host, host.model.layers)
    calls = []
    hooked.blocks[0].hook_resid_post.add_hook(lambda resid, hook: calls.append(1))
    with hooked.attached(), hooked.attached():
        hooked(IDS)
    assert calls == [1]


def test_an_error_in_the_model_leaves_nothing(host):
    hooked = HookedModule(host, host.model.layers)
    with pytest.raises(IndexError):
        hooked(torch.tensor([[10_000]]))
    assert hooks_left(host) == []
    assert not hooked._attached
