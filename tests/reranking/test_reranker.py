import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from satlens.errors import InputError
from satlens.reranking import Reranker
from satlens.reranking.temperature import losses
from tests.reranking.planted import planted, positions


def fitted(k=3, n_layers=6, seed=0, weights=1.0, beta=0.9):
    """A reranker with any weights: what it does must not hang on how it was fitted."""
    made = Reranker()
    made.beta_, made.k_, made.n_layers_, made.notes_ = beta, k, n_layers, []
    made.features_ = ("constant", "log p", "entropy", "lead", "fixed only at the last layer")
    made.coef_ = np.random.default_rng(seed).normal(0, weights, (k, 5))
    return made


def naive(logits, tokens, reranker):
    """q over the whole vocabulary, in float64, in the letters of the module."""
    z = torch.as_tensor(logits).double()
    log_p = (reranker.beta_ * z.log_softmax(-1)).log_softmax(-1).numpy()
    entropy = torch.special.entr(z.softmax(-1)).sum(-1).numpy()
    last = reranker.n_layers_ - 1
    for row in range(len(log_p)):
        own = log_p[row].copy()
        for i in range(reranker.k_):
            v, s = tokens.token[row, i], tokens.layer[row, i]
            x = [1.0, own[v], entropy[row], (last - s) / last, float(s == last)]
            log_p[row, v] += reranker.coef_[i] @ x
    return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)


@settings(max_examples=40)
@given(
    st.integers(0, 2**31), st.integers(4, 40), st.floats(0.2, 6), st.sampled_from([0.5, 0.875, 1.0, 2.0])
)  # fmt: skip
def test_it_is_the_distribution_of_the_formula(seed, outputs, scale, beta):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (12, outputs)).astype(np.float32)
    layer = rng.integers(0, 6, (12, 3))
    tokens = positions(logits, layer, rng.integers(0, outputs, 12), np.zeros(12, int), 6)
    reranker = fitted(seed=seed, beta=beta)
    want = naive(logits, tokens, reranker)
    got = reranker.log_prob(torch.tensor(logits), tokens.token[:, :3], layer)
    np.testing.assert_allclose(got, want, atol=2e-4)
    np.testing.assert_allclose(got.double().exp().sum(1), 1, atol=1e-4)
    at = np.arange(12), tokens.next
    np.testing.assert_allclose(reranker.losses(tokens), -want[at], atol=1e-4)
    gap = np.sort(want, axis=1)[:, -1] - np.sort(want, axis=1)[:, -2]
    sure = gap > 1e-4  # nearer than that, rounding decides
    assert (reranker.hits(tokens) == (want.argmax(1) == tokens.next))[sure].all()


def test_of_equal_ones_the_lower_id_is_first():
    logits = np.zeros((6, 6), np.float32)
    layer = np.zeros((6, 2), int)
    tokens = positions(logits, layer, np.arange(6), np.zeros(6, int), 4)
    plain = fitted(k=2, n_layers=4, weights=0.0)
    assert plain.hits(tokens).tolist() == [True] + [False] * 5
    pushed = fitted(k=2, n_layers=4, weights=0.0)
    pushed.coef_[0, 0] = -1.0  # id 0 falls behind; 1, and the first of the rest, are equal
    assert pushed.hits(tokens).tolist() == [False, True, False, False, False, False]
    pushed.coef_[1, 0] = -1.0
    assert pushed.hits(tokens).tolist() == [False, False, True, False, False, False]


def test_without_weights_it_is_temperature_scaling():
    tokens = planted(0, documents=5)
    reranker = fitted(k=4, n_layers=12, weights=0.0, beta=0.8)
    np.testing.assert_allclose(reranker.losses(tokens), losses(tokens, 0.8), atol=1e-9)
    assert (reranker.hits(tokens) == tokens.right).all()


def test_a_fit_is_no_worse_than_what_it_contains():
    tokens = planted(0, documents=20, effect=1.0)
    full, ranks = Reranker(C=1e6).fit(tokens), Reranker(saturation=False, C=1e6).fit(tokens)
    scaled = losses(tokens, full.beta_).mean()
    assert full.losses(tokens).mean() < ranks.losses(tokens).mean() < scaled
    assert full.coef_.shape == (4, 5) and ranks.coef_.shape == (4, 3)
    assert full.notes_ == ranks.notes_ == []


def test_planted_weights_come_back():
    tokens = planted(1, documents=200, effect=2.0, sharpness=1.0, by_document=0.0)
    lead = Reranker().fit(tokens).coef_[:, 3]
    assert (abs(lead - 2.0) < 0.7).all()


def test_a_fit_does_not_hang_on_the_order_of_the_rows_or_the_scale_of_features():
    tokens = planted(0, documents=10)
    shuffled = np.random.default_rng(0).permutation(len(tokens))
    one, other = Reranker().fit(tokens), Reranker().fit(tokens[shuffled])
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-6)


def test_layers_that_are_all_alike_are_no_error():
    tokens = planted(0, documents=10)
    flat = tokens.replace(layer=np.full_like(tokens.layer, 11))
    assert np.isfinite(Reranker().fit(flat).losses(flat)).all()


def test_a_temperature_at_the_end_of_its_range_is_said():
    tokens = planted(0, documents=10, sharpness=0.2, by_document=0.0)
    assert "the temperature is at the end of its range: b = 0.5" in Reranker().fit(tokens).notes_[0]


def test_saved_and_loaded(tmp_path):
    tokens = planted(0, documents=10)
    reranker = Reranker(C=0.5).fit(tokens)
    reranker.save(tmp_path / "r")
    again = Reranker.load(tmp_path / "r.json")
    assert (again.losses(tokens) == reranker.losses(tokens)).all()
    assert again.get_params() == {"saturation": True, "C": 0.5}
    said = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps(said | {"beta": 0.7}))
    with pytest.raises(InputError, match="was changed after it was written"):
        Reranker.load(tmp_path / "r")


def test_what_it_was_not_fitted_to_is_refused():
    tokens = planted(0, documents=10)
    with pytest.raises(NotFittedError, match="call fit first"):
        Reranker().losses(tokens)
    with pytest.raises(NotFittedError, match="call fit first"):
        Reranker().save("nowhere")
    reranker = Reranker().fit(tokens)
    with pytest.raises(InputError, match="fitted with k=4; got positions with k=3"):
        reranker.losses(planted(0, documents=3, k=3))
    with pytest.raises(InputError, match="fitted with n_layers=12; got positions with n_layers=8"):
        reranker.hits(planted(0, documents=3, n_layers=8))
    with pytest.raises(InputError, match="a row for each of 2 rows of logits; got"):
        reranker.log_prob(torch.zeros(2, 9), np.zeros((1, 4), int), np.zeros((1, 4), int))
    with pytest.raises(InputError, match=r"Saturation layers must be 0 .. 11; found 0 .. 12"):
        reranker.log_prob(torch.zeros(1, 9), [[0, 1, 2, 3]], [[0, 0, 0, 12]])
    with pytest.raises(InputError, match="got none"):
        Reranker().fit(tokens[:0])
    with pytest.raises(InputError, match="C must be above 0, got 0"):
        Reranker(C=0).fit(tokens)
    assert clone(reranker).get_params() == reranker.get_params()
