import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from satlens.reranking.softmax import fit_softmax, log_shares


def problem(seed, n=80, k=3, m=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k, m))
    offset = rng.normal(size=(n, k + 1))
    return offset, x, rng.integers(0, k + 1, n)


def loss(w, offset, x, y, C):
    w = w.reshape(x.shape[1:])
    log_q = log_shares(offset, x, w)
    return -log_q[np.arange(len(y)), y].sum() + (w**2).sum() / (2 * C)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 3), st.floats(0.01, 100))
def test_the_fit_is_the_smallest_point_of_the_loss(seed, k, m, C):
    offset, x, y = problem(seed, k=k, m=m)
    w, ended = fit_softmax(offset, x, y, C)
    found = minimize(loss, np.zeros(k * m), (offset, x, y, C), method="BFGS")
    assert ended and loss(w.ravel(), offset, x, y, C) <= found.fun + 1e-6
    np.testing.assert_allclose(w.ravel(), found.x, atol=2e-3)


def test_one_rank_is_logistic_regression():
    offset, x, y = problem(0, n=300, k=1, m=3)
    w, _ = fit_softmax(np.zeros_like(offset), x, y, C=2.0)
    fit = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10).fit(x[:, 0], y == 0)
    np.testing.assert_allclose(w, fit.coef_, atol=1e-4)


def test_shares_sum_to_one_and_no_weights_are_the_offsets():
    offset, x, _ = problem(1)
    w = np.random.default_rng(0).normal(size=(3, 2))
    np.testing.assert_allclose(np.exp(log_shares(offset, x, w)).sum(1), 1)
    plain = np.exp(offset) / np.exp(offset).sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_shares(offset, x, 0 * w)), plain)


def test_planted_weights_are_found():
    rng = np.random.default_rng(0)
    offset, x, _ = problem(2, n=20_000)
    w = np.array([[1.0, -0.5], [0.0, 0.3], [-1.0, 2.0]])
    y = (log_shares(offset, x, w) + rng.gumbel(size=offset.shape)).argmax(1)
    np.testing.assert_allclose(fit_softmax(offset, x, y, C=1e6)[0], w, atol=0.07)


def test_separable_classes_and_far_offsets_still_end():
    x = np.linspace(-1, 1, 50)[:, None, None]
    offset = np.zeros((50, 2))
    offset[::2] += (
        300  # a common shift changes nothing; a rank with all of the mass leaves no slope
    )
    offset[:5, 0] += 200
    w, ended = fit_softmax(offset, x, (x[:, 0, 0] < 0).astype(int), C=1.0)
    assert ended and np.isfinite(w).all()


@pytest.mark.parametrize("shape", [(10, 2, 0), (10, 0, 3)])
def test_nothing_to_fit(shape):
    n, k, _ = shape
    w, ended = fit_softmax(np.zeros((n, k + 1)), np.zeros(shape), np.zeros(n, int))
    assert ended and w.size == 0
