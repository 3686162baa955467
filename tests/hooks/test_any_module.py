"""Hook points behind the blocks of a module that TransformerLens knows nothing of."""

import pytest
import torch
from torch import nn

from hooks.hook_any_module import hook_any_module
from hooks.record_residual_states import record_residual_states
from satlens.models import HookedModule
from tests.hooks.hosts import attached

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class Mixer(nn.Module):
    """A post-norm block; every other one gives a tuple, as Hugging Face's do."""

    def __init__(self, d: int, pair: bool) -> None:
        super().__init__()
        self.mix, self.norm, self.pair = nn.Linear(d, d), nn.LayerNorm(d), pair

    def forward(self, x):
        x = self.norm(x + self.mix(x.flip(1)).tanh())
        return (x, "attention") if self.pair else x


class Toy(nn.Module):
    def __init__(self, d: int = 8, n_blocks: int = 4) -> None:
        super().__init__()
        self.body = nn.ModuleList(Mixer(d, bool(i % 2)) for i in range(n_blocks))
        self.head = nn.Linear(d, 3)

    def forward(self, x, scale=1.0):
        for block in self.body:
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x
        return scale * self.head(x[:, 0])


@pytest.fixture
def toy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Toy().eval()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def literal(toy, x):
    states = []
    for block in toy.body:
        x = block(x)
        x = x[0] if isinstance(x, tuple) else x
        states.append(x)
    return states


def test_the_states_and_the_models_own_output(toy):
    hooked = hook_any_module(toy, toy.body)
    scores, cache = hooked.run_with_cache(X, scale=2.0)
    assert torch.equal(scores, toy(X, scale=2.0))
    assert list(cache) == [f"blocks.{layer}.hook_resid_post" for layer in range(4)]
    for state, want in zip(cache.values(), literal(toy, X), strict=True):
        assert torch.equal(state, want)
    assert not any(attached(toy))


def test_it_is_the_librarys_own(toy):
    mine, cache = hook_any_module(toy, toy.body).run_with_cache(X)
    theirs, others = HookedModule(toy, toy.body).run_with_cache(X)
    assert torch.equal(mine, theirs)
    assert cache.keys() == others.keys()
    assert all(torch.equal(cache[name], others[name]) for name in cache)


def test_every_state_in_the_last_place_is_the_lens_there(toy):
    """Replacing the last block's output by h_l gives head(h_l[:, 0]): no knowledge of the readout."""
    hooked = hook_any_module(toy, toy.body)
    for state in literal(toy, X):
        last = [("blocks.3.hook_resid_post", lambda resid, hook, state=state: state)]
        assert torch.equal(hooked.run_with_hooks(X, fwd_hooks=last), toy.head(state[:, 0]))
    assert torch.equal(hooked(X), toy(X))


def test_another_recipe_runs_on_it(toy):
    resid, scores = record_residual_states(hook_any_module(toy, toy.body), X)
    assert torch.equal(resid, torch.stack(literal(toy, X)))
    assert torch.equal(scores, toy(X))


def test_hooks_of_the_user_act_and_stay_and_errors_leave_none(toy):
    handle = toy.body[1].register_forward_hook(lambda _m, _i, out: (out[0] + 1, *out[1:]))
    want, hooked, before = toy(X), hook_any_module(toy, toy.body), attached(toy)
    assert torch.equal(hooked(X), want)

    def broken(resid, hook):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hooked.run_with_hooks(X, fwd_hooks=[("blocks.2.hook_resid_post", broken)])
    assert attached(toy) == before
    handle.remove()
