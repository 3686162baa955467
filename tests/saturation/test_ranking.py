import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, NumericsError
from satlens.saturation.ranking import top_ids
from tests.saturation.reference import ranking


@settings(deadline=None)
@given(st.data())
def test_equal_scores_come_in_order_of_id(data):
    rows, outputs = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    k = data.draw(st.integers(1, outputs))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    seed = data.draw(st.integers(0, 2**32))
    levels = data.draw(st.sampled_from([1, 2, 5, 1000]))
    scores = torch.randint(levels, (rows, outputs), generator=torch.manual_seed(seed)).to(dtype)
    want = [ranking(row)[:k] for row in scores.tolist()]
    assert top_ids(scores, k).tolist() == want


def test_signed_zeros_and_infinities_are_ordinary_scores():
    scores = torch.tensor([[-0.0, 0.0, float("inf"), -float("inf"), -float("inf")]])
    assert top_ids(scores, 5).tolist() == [[2, 0, 1, 3, 4]]


def test_nan_is_refused_and_counted():
    scores = torch.zeros(3, 4)
    scores[1, 3] = float("nan")
    with pytest.raises(NumericsError, match="NaN scores for 1 of 3 positions"):
        top_ids(scores, 2)


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_outside_the_outputs_is_refused(k):
    with pytest.raises(InputError, match=f"k={k}; k must be between 1 and the model's 4 outputs"):
        top_ids(torch.zeros(2, 4), k)
