"""Sources and targets of encoder-decoder models."""

import pytest
import torch

from satlens.errors import InputError
from satlens.models.inputs.pairs import pair_batches
from tests.models.test_inputs import make_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(eos_token="[SEP]")


def test_text_targets_get_the_start_token_and_it_does_not_count(tokenizer):
    (batch,) = pair_batches([("a b", "c d"), ("d", "a")], 4, tokenizer=tokenizer, decoder_start=0)
    assert batch.args["input_ids"].tolist() == [[3, 4], [6, 0]]
    assert batch.args["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch.tokens.tolist() == [[0, 5, 6], [0, 3, 0]]
    assert batch.real.tolist() == [[False, True, True], [False, True, False]]
    assert batch.start.tolist() == [0, 0]


def test_given_ids_are_taken_as_they_are():
    (batch,) = pair_batches([([3], [5, 6]), (torch.tensor([[4]]), [0, 6])], 4, decoder_start=0)
    assert batch.tokens.tolist() == [[5, 6], [0, 6]]
    assert batch.real.tolist() == [[True, True], [False, True]]
    (batch,) = pair_batches([([3], [0, 6])], 4, True, decoder_start=0)
    assert batch.real.tolist() == [[True, True]]


BAD = [
    ("a b", r"An encoder-decoder model cannot read str; pass a list of \(source, target\) pairs"),
    (None, r"An encoder-decoder model cannot read NoneType"),
    ([], r"Got no pairs \(an empty list\)"),
    (["a b"], r"Item 0 is no \(source, target\) pair"),
    ([([3], [4], [5])], r"Item 0 is no \(source, target\) pair"),
    ([([3], [])], r"Got no documents"),
    ([([3], [[4], [5]])], r"One side of a pair holds 2 documents; it must be one"),
    ([([3], [9])], r"Document 0 has ids from 9 to 9; the model reads 0 \.\. 6"),
    ([([3], [0])], r"The target of pair 0 has no token besides the start token"),
    ([([3] * 9, [4])], r"The source of pair 0 has 9 tokens; the model reads 8"),
    ([([3], [4] * 9)], r"The target of pair 0 has 9 tokens; .* Pairs are not split into windows"),
    ({"input_ids": [[3]]}, r"decoder_input_ids is missing"),
    (
        {"input_ids": [[3], [4]], "decoder_input_ids": [[3]]},
        r"input_ids has 2 rows, decoder_input_ids 1",
    ),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_pairs_that_cannot_be_read(inputs, message):
    with pytest.raises(InputError, match=message):
        pair_batches(inputs, 2, vocabulary=7, decoder_start=0, context=8)


def test_text_without_a_tokenizer():
    with pytest.raises(InputError, match="is text, but the model has no tokenizer"):
        pair_batches([("a", "b")], 2)
