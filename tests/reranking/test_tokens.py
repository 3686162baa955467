import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, NumericsError
from satlens.reranking.final_output import final_numbers
from satlens.reranking.temperature import fit_temperature, losses
from satlens.reranking.tokens import BETAS, NextTokens, hermite
from satlens.saturation.ranking import top_ids
from tests.reranking.planted import planted, positions


def some(seed=0, n=40, outputs=30, k=3, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, outputs)).astype(np.float32)
    layer = rng.integers(0, 6, (n, k))
    return logits, positions(logits, layer, rng.integers(0, outputs, n), np.arange(n) // 4, 6)


def exact(logits):
    return torch.as_tensor(logits).double().log_softmax(-1)


@settings(max_examples=40)
@given(
    st.integers(0, 2**31), st.integers(5, 200), st.floats(0.1, 8), st.floats(BETAS[0], BETAS[-1])
)
def test_every_temperature_is_that_of_the_whole_vocabulary(seed, outputs, scale, beta):
    """Measured, mean over tokens: off by 3e-5 on tiny's final outputs, 2e-5 on those of stories260k."""
    logits, tokens = some(seed, outputs=outputs, scale=scale)
    logp = exact(logits)
    want = (beta * logp).logsumexp(-1).numpy()
    assert np.abs(tokens.normaliser(beta) - want).mean() < 1e-4
    own = beta * logp.numpy()[np.arange(len(tokens)), tokens.next] - want
    assert np.abs(losses(tokens, beta) + own).mean() < 1e-4


def test_at_the_grid_it_is_exact_and_so_is_the_entropy():
    logits, tokens = some()
    logp = exact(logits)
    for beta in BETAS:
        want = (beta * logp).logsumexp(-1).numpy()
        np.testing.assert_allclose(tokens.normaliser(beta), want, atol=5e-6)
    np.testing.assert_allclose(
        tokens.entropy, torch.special.entr(logp.exp()).sum(-1).numpy(), atol=2e-5
    )


def test_the_fitted_temperature_has_the_smallest_loss():
    logits, tokens = some(n=200, scale=4)
    beta = fit_temperature(tokens)
    logp = exact(logits)
    grid = np.linspace(0.5, 2, 301)
    loss = [-(b * logp).log_softmax(-1).numpy()[np.arange(200), tokens.next].mean() for b in grid]
    assert beta == pytest.approx(grid[int(np.argmin(loss))], abs=0.006)
    assert losses(tokens, beta).mean() == pytest.approx(min(loss), abs=1e-4)


def test_a_planted_temperature_is_found():
    tokens = planted(0, documents=60, sharpness=0.8, by_document=0.0)
    assert fit_temperature(tokens) == pytest.approx(0.8, abs=0.05)


def test_ranks_of_the_next_token():
    logits, tokens = some(outputs=6, k=3)
    order = np.argsort(-logits, axis=1)
    place = (order == tokens.next[:, None]).argmax(1) + 1
    assert (tokens.rank == np.where(place <= 4, place, 0)).all()
    assert (tokens.right == (place == 1)).all()
    assert (tokens.lead == 5 - tokens.layer).all()


def test_equal_scores_go_by_id_and_outputs_without_probability_count_for_nothing():
    logits = np.zeros((1, 6), np.float32)
    logits[0, 5] = -np.inf
    tokens = positions(logits, np.zeros((1, 2), int), [3], np.zeros(1, int), 4)
    assert tokens.token[0].tolist() == [0, 1, 2] and tokens.rank.tolist() == [0]
    for beta in BETAS:
        np.testing.assert_allclose(tokens.normaliser(beta), (1 - beta) * np.log(5), atol=1e-5)


def test_a_next_token_without_probability_is_refused():
    logits = torch.zeros(2, 5)
    logits[1, 4] = -torch.inf
    with pytest.raises(NumericsError, match="gives 1 of 2 next tokens the probability 0"):
        final_numbers(logits, top_ids(logits, 2), torch.tensor([4, 4]))


def test_rows_and_parts():
    _, tokens = some()
    some_rows = tokens[tokens.doc == 3]
    assert len(some_rows) == 4 and set(some_rows.doc) == {3}
    both = NextTokens.concat([tokens[20:], tokens[:20]])
    for name in ("layer", "token", "logp", "tail", "next", "pos"):
        assert (getattr(both, name) == getattr(tokens, name)).all()
    assert repr(tokens).startswith("NextTokens(40 positions, 10 documents, k=3, 6 layers, top-1")


def test_wrong_shapes_and_layers_are_refused():
    _, tokens = some()
    with pytest.raises(
        InputError, match=r"NextTokens.token has shape \(40, 3\); .* must be \(40, 4"
    ):
        tokens.replace(token=tokens.token[:, :3])
    with pytest.raises(InputError, match=r"Saturation layers must be 0 .. 5; found 0 .. 6"):
        tokens.replace(layer=tokens.layer + (tokens.layer == 5))
    with pytest.raises(InputError, match="must lie between 0.5 and 2, got 3"):
        tokens.normaliser(3.0)


def test_cubics_go_through_values_and_slopes():
    at = np.linspace(0, 2, 5)
    value, slope = np.sin(at)[None], np.cos(at)[None]
    for x in np.linspace(0, 2, 17):
        assert hermite(at, value, slope, x)[0] == pytest.approx(np.sin(x), abs=2e-4)
    assert [hermite(at, value, slope, x)[0] for x in at] == pytest.approx(np.sin(at).tolist())
