"""What every lens must hold, whatever it learned: import `LensContract` and give it a lens.

class TestMyLens(LensContract):
    @pytest.fixture
    def lens(self, model): return MyLens(...)
"""

import pytest
import torch

import satlens
from satlens.lenses import Lens
from tests.builders import random_hooked


class LensContract:
    """Subclass it with a fixture ``lens`` made from the fixture ``model``."""

    @pytest.fixture
    def model(self):
        return satlens.wrap(random_hooked(n_layers=4, d=16, vocab=40, seed=0))

    @pytest.fixture
    def states(self, model):
        return model.states(next(iter(model.batches([list(range(1, 20))], 1))))

    def test_it_is_a_lens(self, lens):
        assert isinstance(lens, Lens) and lens.name

    def test_scores_have_one_column_an_output(self, lens, model, states):
        for layer in range(model.n_layers):
            scores = lens.scores(states.resid[layer], layer)
            assert scores.shape == (len(states.pos), model.n_outputs)
            assert torch.isfinite(scores).all()

    def test_the_last_layer_is_the_model_itself(self, lens, model, states):
        scores = lens.scores(states.resid[-1], model.n_layers - 1)
        torch.testing.assert_close(scores, states.logits)

    def test_rows_are_independent(self, lens, states):
        alone = torch.cat([lens.scores(states.resid[1][i : i + 1], 1) for i in range(5)])
        torch.testing.assert_close(alone, lens.scores(states.resid[1][:5], 1))

    def test_leading_axes_are_free(self, lens, states):
        stacked = states.resid[1][:4].reshape(2, 2, -1)
        flat = lens.scores(states.resid[1][:4], 1)
        torch.testing.assert_close(lens.scores(stacked, 1).reshape(4, -1), flat)

    def test_the_states_are_left_alone(self, lens, states):
        before = states.resid.clone()
        lens.scores(states.resid[1], 1)
        assert torch.equal(states.resid, before)

    def test_detect_takes_it(self, lens, model):
        events = satlens.detect(model, [list(range(1, 20))], k=3, lens=lens)
        assert events.settings["lens"] == lens.name
