"""Items with one position each, for modules of one's own."""

import pytest
import torch

from satlens.errors import InputError
from satlens.models.inputs.tensors import Stacked, tensor_batches


def test_every_item_is_a_document_with_one_position(caplog):
    values = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    batches = tensor_batches(
        "x",
        2,
        n_positions=4,
        position=1,
        read=lambda _: Stacked(values, ("a", "b", "c"), (0, 2, 3), "Read."),
    )
    assert batches.n_documents == batches.n_tokens == 3
    assert [row.name for row in batches.rows] == ["a", "b", "c"]
    assert caplog.messages == ["Read."]
    first, second = batches
    assert torch.equal(torch.cat([first.args["inputs"], second.args["inputs"]]), values)
    assert first.real.tolist() == [[False, True, False, False]] * 2
    assert second.doc.tolist() == [3]
    assert first.tokens.eq(-1).all()
    assert torch.equal(tensor_batches(values.double(), 3, n_positions=1).rows[0].value, values[0])


BAD = [
    (torch.zeros(0, 5), r"Got no items"),
    (torch.zeros(5), r"got torch\.float32 of shape \(5,\)"),
    (torch.zeros(2, 5, dtype=torch.int64), r"got torch\.int64 of shape \(2, 5\)"),
    (torch.full((2, 5), torch.nan), r"2 of 2 items hold NaN or infinite values"),
    (torch.zeros(2, 4), r"The items have shape \(4,\); the model reads \(5,\)"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_what_is_no_stack_of_items(values, message):
    with pytest.raises(InputError, match=message):
        tensor_batches(values, 2, n_positions=3, shape=(5,))


def test_a_position_that_is_not_there():
    with pytest.raises(InputError, match="position 3 is not among 3 positions"):
        tensor_batches(torch.zeros(1, 2), 1, n_positions=3, position=3)
