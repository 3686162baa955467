"""Exact scores are those of Python's fractions, wherever a row lies and whoever is beside it."""

import pytest
import torch
from hypothesis import given, settings

from satlens.models.readout import Head
from satlens.saturation.exact import Bounds, exact_scores, full_precision, gamma, norms_above
from satlens.saturation.rows import fast_dots, rank_candidates
from tests.saturation.exactly import exact_scores as by_fractions
from tests.saturation.problems import problems


@settings(max_examples=200)
@given(problems())
def test_scores_are_those_of_fractions(problem):
    x, head = problem.x[-1], problem.head
    row, v = torch.ones(len(x), len(head)).nonzero(as_tuple=True)
    got = exact_scores(head, x[row], v).view(len(x), -1)
    assert torch.equal(got, by_fractions(x, head.weight, head.bias))


@settings(max_examples=200)
@given(problems())
def test_fast_sums_are_within_their_bound(problem):
    x, head = problem.x[-1], problem.head
    row, v = torch.ones(len(x), len(head)).nonzero(as_tuple=True)
    bounds = Bounds.of(head)
    fast = fast_dots(head, x, row, v).double()
    exact = x.double() @ head.weight.double().T
    exact = (exact if head.bias is None else exact + head.bias.double())[row, v]
    error = bounds.error(norms_above(x.to(bounds.norm.dtype)))[row].double()
    room = 1e-14 * exact.abs() if head.weight.dtype == torch.float64 else 0
    assert ((fast - exact).abs() <= error + room).all()


def test_repeated_rows_tie_wherever_they_lie():
    """In odd sizes the product of one row depends on its place among the rows; its exact score does not."""
    generator = torch.manual_seed(0)
    weight = torch.randn(11, 7, generator=generator)[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]]
    x = torch.randn(400, 7, generator=generator)
    row, v = torch.ones(400, 11).nonzero(as_tuple=True)
    scores = exact_scores(Head(weight), x[row], v).view(400, 11)
    assert torch.equal(scores[:, :5], scores[:, 5:10])
    alone = torch.cat(
        [exact_scores(Head(weight), x[i, None], torch.tensor([3])) for i in range(400)]
    )
    assert torch.equal(alone, scores[:, 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_sum_that_cancels_is_exact(dtype):
    """The small term survives, where any floating-point sum would lose it."""
    weight = torch.tensor([[2.0**60, 1.0, -(2.0**60)]], dtype=dtype)
    x = torch.tensor([[2.0**60, 3.0, 2.0**60]], dtype=dtype)
    assert exact_scores(Head(weight), x, torch.tensor([0])).tolist() == [3.0]


def test_ties_are_ties_of_the_models_own_type():
    """Two bfloat16 scores closer than bfloat16 can tell: the lower id first."""
    weight = torch.tensor([[100.0, 0.0], [100.0, 0.5], [100.0, 8.0]], dtype=torch.bfloat16)
    x = torch.tensor([[1.0, 0.25]], dtype=torch.bfloat16)
    row, v = torch.zeros(3, dtype=torch.long), torch.arange(3)
    assert rank_candidates(Head(weight), x, row, v, 3).tolist() == [[2, 0, 1]]
    assert rank_candidates(Head(weight.float()), x.float(), row, v, 3).tolist() == [[2, 1, 0]]


def test_gamma():
    assert gamma(1000, torch.float32) == pytest.approx(1000 * 2**-24, rel=1e-3)
    assert gamma(1000, torch.float32) > 1000 * 2**-24


def test_products_are_full_precision_inside_and_as_before_outside():
    """A user's TF32 or autocast would break every bound."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with full_precision():
                assert torch.get_float32_matmul_precision() == "highest"
                x = torch.randn(64, 64, generator=torch.manual_seed(0))
                assert (x @ x).dtype == torch.float32
                assert (x @ x - (x.double() @ x.double())).abs().max() < 1e-4
            assert (x @ x).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
        with pytest.raises(KeyError), full_precision():
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
