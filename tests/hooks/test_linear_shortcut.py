"""The recipe of linear shortcuts fits and reads what `satlens.LinearShortcut` does."""

import pytest
import torch

import satlens
from hooks.logit_lens import logit_lens
from hooks.read_linear_shortcut import fit_linear_shortcut, read_linear_shortcut
from satlens.models import weights_sha256
from tests.builders import random_ids
from tests.hooks.hosts import TOKENS, attached

TRAIN = [torch.tensor(random_ids(50, [12] * 8, seed)) for seed in range(1, 4)]


def documents(batches):
    return [row.tolist() for tokens in batches for row in tokens]


def test_it_is_satlens_shortcut_with_its_ridge(model):
    maps = fit_linear_shortcut(model, TRAIN, ridge=0.01)
    fitter = satlens.lenses.ShortcutFitter
    wrapped = satlens.wrap(model)
    if wrapped.n_layers > 1:
        lens = fitter(wrapped).fit(documents(TRAIN), include_bos=True).shortcut(ridge=0.01)
        for (layer, _), one in lens.maps.items():
            torch.testing.assert_close(maps[layer], one.weight, rtol=1e-3, atol=1e-4)
    scores = read_linear_shortcut(model, TOKENS, maps, read=lambda scores: scores)
    with torch.no_grad():
        assert torch.equal(scores[-1], model(TOKENS))
    if wrapped.n_layers > 1:
        (batch,) = wrapped.batches(TOKENS, 2, include_bos=True)
        states = wrapped.states(batch)
        for layer in range(wrapped.n_layers - 1):
            with torch.no_grad():
                own = lens.scores(states.resid[layer], layer)
            spread = float(own.std())
            assert float((scores[layer].flatten(0, 1) - own).abs().max()) < 2e-3 * max(spread, 1)


def test_identity_maps_are_the_logit_lens(model):
    eye = torch.eye(model.cfg.d_model).expand(len(model.blocks), -1, -1)
    scores = read_linear_shortcut(model, TOKENS, eye, read=lambda scores: scores)
    assert torch.equal(scores, logit_lens(model, TOKENS, read=lambda scores: scores))


def test_the_last_map_is_the_identity_and_nothing_is_left_on_the_model(model):
    before, weights = attached(model), weights_sha256(model)
    maps = fit_linear_shortcut(model, TRAIN)
    assert maps.shape == (len(model.blocks), model.cfg.d_model, model.cfg.d_model)
    assert torch.equal(maps[-1], torch.eye(model.cfg.d_model))

    def broken(_scores):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_linear_shortcut(model, TOKENS, maps, read=broken)
    assert attached(model) == before and weights_sha256(model) == weights


def test_too_few_states_without_ridge_are_refused(model):
    few = [TOKENS[:1, :5]]
    with pytest.raises(ValueError, match="5 states for maps of width 32: give more text"):
        fit_linear_shortcut(model, few, ridge=0)
    assert fit_linear_shortcut(model, few).isfinite().all()
