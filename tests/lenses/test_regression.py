"""Least squares from moments against plain references on the data itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError
from satlens.lenses.moments import Moments
from satlens.lenses.regression import least_squares, reduced_rank, shared_subspace


def moments_of(x, y):
    moments = Moments([("x", "y")])
    for rows in np.array_split(np.arange(len(x)), 3):
        moments.update({"x": torch.from_numpy(x[rows]), "y": torch.from_numpy(y[rows])})
    return moments.pair("x", "y")


def a_problem(seed, n=60, d=6, e=None, mean=1.0, noise=1.0, dtype=np.float64):
    """x with coordinates of very different size, and y that follows it."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(-2, 2, d)
    x = mean + rng.standard_normal((n, d)) * size
    y = (x / size) @ rng.standard_normal((d, e or d)) + noise * rng.standard_normal((n, e or d)) + 3
    return x.astype(dtype), y.astype(dtype)


def error(x, y, weight, bias=None):
    """Sum of squares that is left, in float64."""
    predicted = x.astype(float) @ np.asarray(weight, float).T
    return float((((predicted if bias is None else predicted + np.asarray(bias)) - y) ** 2).sum())


@given(st.integers(0, 2**31), st.integers(1, 7), st.booleans())
def test_it_is_numpys_least_squares(seed, d, intercept):
    x, y = a_problem(seed, d=d, e=3)
    fitted = least_squares(moments_of(x, y), intercept=intercept)
    design = np.column_stack([x, np.ones(len(x))]) if intercept else x
    want = np.linalg.lstsq(design, y, rcond=None)[0].T
    assert np.allclose(fitted.weight, want[:, :d], rtol=1e-6, atol=1e-8)
    assert fitted.directions == d
    if intercept:
        assert np.allclose(fitted.bias, want[:, d], rtol=1e-6, atol=1e-6)
    else:
        assert fitted.bias is None


@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans())
def test_where_x_lacks_directions_it_is_numpys_smallest_solution(seed, kept, intercept):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((40, kept)) @ rng.standard_normal((kept, 6))
    x[:, rng.integers(6)] = 0.0  # and a coordinate that is always 0
    y = rng.standard_normal((40, 3)) + 2
    fitted = least_squares(moments_of(x, y), intercept=intercept)
    if intercept:
        cx, cy = x - x.mean(0), y - y.mean(0)
        want = np.linalg.lstsq(cx, cy, rcond=1e-10)[0].T
    else:
        want = np.linalg.lstsq(x, y, rcond=1e-10)[0].T
    assert fitted.directions == np.linalg.matrix_rank(x, tol=1e-8)
    assert np.allclose(fitted.weight, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_states_in_float32_that_lack_a_direction_but_for_rounding():
    """As those of a model whose writing weights are centred: their coordinates sum to 0, nearly."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8)).astype(np.float32)
    x -= x.mean(1, keepdims=True)
    y = x @ rng.standard_normal((8, 8)).astype(np.float32)
    fitted = least_squares(moments_of(x, y))
    assert fitted.directions == 7
    assert float(fitted.weight.abs().max()) < 10
    assert error(x, y, fitted.weight) < 1e-8


@given(st.integers(0, 2**31), st.floats(1e-6, 10), st.booleans(), st.integers(1, 30))
def test_with_ridge_it_solves_the_penalised_equations(seed, ridge, intercept, n):
    x, y = a_problem(seed, n=n, d=5)
    fitted = least_squares(moments_of(x, y), ridge, intercept)
    cx, cy = (x - x.mean(0), y - y.mean(0)) if intercept else (x, y)
    penalty = ridge * (cx**2).sum() / 5
    augmented = np.vstack([cx, np.sqrt(penalty) * np.eye(5)])
    want = np.linalg.lstsq(augmented, np.vstack([cy, np.zeros((5, 5))]), rcond=None)[0].T
    assert np.allclose(fitted.weight, want, rtol=1e-5, atol=1e-6 * max(1e-9, np.abs(want).max()))
    if intercept:
        assert np.allclose(fitted.bias, y.mean(0) - want @ x.mean(0), rtol=1e-4, atol=1e-4)


def descended(x, y, rank, starts=4, steps=400):
    """The least error of any map of this rank that alternating least squares finds: a plain reference."""
    best = np.inf
    for start in range(starts):
        rng = np.random.default_rng(start)
        outer = rng.standard_normal((y.shape[1], rank))
        for _ in range(steps):
            # inner given outer, then outer given inner; each an ordinary least-squares problem.
            inner = np.linalg.lstsq(outer, np.linalg.lstsq(x, y, rcond=None)[0].T, rcond=None)[0]
            outer = np.linalg.lstsq(x @ inner.T, y, rcond=None)[0].T
        best = min(best, error(x, y, outer @ inner))
    return best


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 4), st.booleans())
def test_no_map_of_that_rank_is_better(seed, rank, intercept):
    x, y = a_problem(seed, n=40, d=5, e=4, noise=2.0)
    fitted = least_squares(moments_of(x, y), intercept=intercept)
    low = reduced_rank(fitted, rank)
    weight = low.outer @ low.inner
    assert np.linalg.matrix_rank(weight, tol=1e-9 * float(weight.abs().max())) <= rank
    if intercept:
        mine, cx, cy = error(x, y, weight, low.bias), x - x.mean(0), y - y.mean(0)
    else:
        mine, cx, cy = error(x, y, weight), x, y
    best = descended(cx, cy, rank)
    assert mine == pytest.approx(best, rel=1e-6)
    # A positive control: keeping the largest singular values of A itself is another map, and a worse one.
    u, s, v = torch.linalg.svd(fitted.weight)
    plain = error(cx, cy, (u[:, :rank] * s[:rank]) @ v[:rank])
    assert plain >= mine * (1 - 1e-9)


def test_full_rank_is_the_full_map_and_the_error_falls_with_the_rank():
    x, y = a_problem(0, d=6)
    fitted = least_squares(moments_of(x, y))
    errors = [
        error(x, y, low.outer @ low.inner) for low in (reduced_rank(fitted, r) for r in range(1, 7))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(error(x, y, fitted.weight), rel=1e-9)


def test_with_ridge_no_map_of_that_rank_has_a_smaller_penalised_error():
    x, y = a_problem(1, n=40, d=5, noise=2.0)
    ridge = 0.3
    penalty = ridge * (x**2).sum() / 5
    low = reduced_rank(least_squares(moments_of(x, y), ridge), 2)
    augmented_x = np.vstack([x, np.sqrt(penalty) * np.eye(5)])
    augmented_y = np.vstack([y, np.zeros((5, 5))])
    mine = error(augmented_x, augmented_y, low.outer @ low.inner)
    assert mine == pytest.approx(descended(augmented_x, augmented_y, 2), rel=1e-6)


def shared_error(problems, basis):
    """The error of the best maps into one subspace, by projecting the data."""
    left = 0.0
    for x, y in problems:
        inside = y @ basis @ basis.T
        best = np.linalg.lstsq(x, inside, rcond=None)[0]
        left += ((x @ best - y) ** 2).sum()
    return left


def test_no_subspace_serves_all_the_sources_better():
    problems = [a_problem(seed, n=50, d=5, e=4, noise=2.0) for seed in range(3)]
    fits = [least_squares(moments_of(x, y)) for x, y in problems]
    maps = shared_subspace(fits, 2)
    assert all(one.outer is maps[0].outer for one in maps)
    mine = sum(
        error(x, y, one.outer @ one.inner) for (x, y), one in zip(problems, maps, strict=True)
    )
    assert mine == pytest.approx(shared_error(problems, maps[0].outer.numpy()), rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(300):
        near = maps[0].outer.numpy() + rng.choice([0.01, 0.1, 1.0]) * rng.standard_normal((4, 2))
        assert shared_error(problems, np.linalg.qr(near)[0]) >= mine * (1 - 1e-12)
    own = sum(
        error(x, y, low.outer @ low.inner)
        for (x, y), low in zip(problems, (reduced_rank(one, 2) for one in fits), strict=True)
    )
    assert own <= mine


def test_one_source_shares_with_itself():
    x, y = a_problem(0)
    fitted = least_squares(moments_of(x, y), intercept=True)
    (shared,), low = shared_subspace([fitted], 3), reduced_rank(fitted, 3)
    assert torch.equal(shared.outer, low.outer) and torch.equal(shared.inner, low.inner)
    assert torch.equal(shared.bias, low.bias)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m: least_squares(m), r"n = 5, and each row of the map has 6 unknowns \(d = 6\).*ridge=0.001"),
        (lambda m: least_squares(m, intercept=True), r"has 7 unknowns \(d = 6, and the intercept\)"),
        (lambda m: least_squares(m, -1.0), "ridge must be a number of at least 0, got -1.0"),
        (lambda m: least_squares(m, float("nan")), "ridge must be .* got nan"),
        (lambda m: reduced_rank(least_squares(m, 0.1), 7), "from 1 to the width of the states, 6; got 7"),
        (lambda m: reduced_rank(least_squares(m, 0.1), 0), "from 1 to the width of the states, 6; got 0"),
    ],
)  # fmt: skip
def test_too_few_states_and_settings_that_mean_nothing(call, words):
    moments = moments_of(*a_problem(0, n=5))
    with pytest.raises(InputError, match=words):
        call(moments)
    assert least_squares(moments, ridge=1e-3).weight.isfinite().all()


def test_states_that_are_all_zero_give_the_zero_map():
    x, y = np.zeros((20, 4)), np.ones((20, 4))
    for ridge in (0.0, 0.1):
        assert not least_squares(moments_of(x, y), ridge).weight.any()
