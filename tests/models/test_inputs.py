"""What users pass -> rows: paddings, BOS, windows, and every input that cannot be read."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BatchEncoding, PreTrainedTokenizerFast

from satlens.errors import InputError
from satlens.models.inputs.image_batches import image_batches
from satlens.models.inputs.text import token_batches
from tests.contracts.residual_model import pad

WORDS = ["<s>", "[CLS]", "[SEP]", "a", "b", "c", "d"]


def make_tokenizer(**special) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, **special)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(bos_token="<s>")


def rows(inputs, batch_size=2, **kw):
    """{document: [(position, id) of what counts]} of everything that is read, in reading order."""
    found = {}
    for batch in token_batches(inputs, batch_size, **kw):
        for r in range(len(batch.doc)):
            for c in batch.real[r].nonzero().flatten().tolist():
                entry = (int(batch.start[r]) + c, int(batch.tokens[r, c]))
                found.setdefault(int(batch.doc[r]), []).append(entry)
    return {doc: sorted(entries) for doc, entries in sorted(found.items())}


DOCS = [[3, 4, 5], [6], [4, 4]]
PLAIN = {0: [(0, 3), (1, 4), (2, 5)], 1: [(0, 6)], 2: [(0, 4), (1, 4)]}


def test_every_form_of_ids_gives_the_same_rows():
    left, left_mask = pad(DOCS, "left")
    right, right_mask = pad(DOCS, "right")
    forms = [
        DOCS,
        tuple(DOCS),
        [torch.tensor(d) for d in DOCS],
        [np.array(d, dtype=np.int32) for d in DOCS],
        {"input_ids": left, "attention_mask": left_mask},
        {"input_ids": right.tolist(), "attention_mask": right_mask.numpy()},
        {"input_ids": DOCS},
        BatchEncoding({"input_ids": left, "attention_mask": left_mask.bool()}),
    ]
    for form in forms:
        assert rows(form) == PLAIN, type(form)


def test_one_document_alone():
    for form in (
        [3, 4, 5],
        torch.tensor([3, 4, 5]),
        np.array([3, 4, 5]),
        torch.tensor([[3, 4, 5]]),
    ):
        assert rows(form) == {0: PLAIN[0]}


def test_text_gets_the_bos_and_the_bos_does_not_count(tokenizer):
    assert rows("a b", tokenizer=tokenizer) == {0: [(1, 3), (2, 4)]}
    assert rows("a b", tokenizer=tokenizer, include_bos=True) == {0: [(0, 0), (1, 3), (2, 4)]}
    assert rows(["a b", "d"], tokenizer=tokenizer) == {0: [(1, 3), (2, 4)], 1: [(1, 6)]}


def test_a_bos_among_given_ids_is_recognised_and_none_is_added(tokenizer):
    assert rows([[0, 3, 4], [3, 4]], tokenizer=tokenizer) == {
        0: [(1, 3), (2, 4)],
        1: [(0, 3), (1, 4)],
    }


def test_text_and_the_tokenizers_own_output_give_the_same_rows(tokenizer):
    encoding = {"input_ids": [[0, 3, 4], [0, 6]], "attention_mask": [[1, 1, 1], [1, 1]]}
    assert rows(encoding, tokenizer=tokenizer) == rows(["a b", "d"], tokenizer=tokenizer)


def test_without_prepend_bos_text_starts_at_zero(tokenizer):
    assert rows("a b", tokenizer=tokenizer, prepend_bos=False) == {0: [(0, 3), (1, 4)]}


def test_a_bidirectional_model_reads_cls_and_sep():
    tokenizer = make_tokenizer(cls_token="[CLS]", sep_token="[SEP]")
    (batch,) = token_batches("a b", 1, tokenizer=tokenizer, bidirectional=True)
    assert batch.tokens.tolist() == [[1, 3, 4, 2]]
    assert batch.real.tolist() == [[False, True, True, False]]
    (batch,) = token_batches("a b", 1, True, tokenizer=tokenizer, bidirectional=True)
    assert batch.real.all()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    context=st.integers(2, 12),
    batch_size=st.integers(1, 5),
    bos=st.booleans(),
    include=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_lose_nothing_and_read_nothing_twice(
    lengths, context, batch_size, bos, include, seed
):
    generator = torch.Generator().manual_seed(seed)
    body = [torch.randint(3, 7, (n,), generator=generator).tolist() for n in lengths]
    documents = [[0, *ids] if bos else ids for ids in body]
    tokenizer = make_tokenizer(bos_token="<s>")
    batches = token_batches(documents, batch_size, include, tokenizer=tokenizer, context=context)
    found = {}
    for batch in batches:
        assert batch.tokens.shape[1] <= context
        assert batch.args["attention_mask"].shape == batch.tokens.shape
        for r in range(len(batch.doc)):
            if bos:
                assert int(batch.tokens[r, 0]) == 0  # every window starts with the BOS again
            for c in batch.real[r].nonzero().flatten().tolist():
                key = (int(batch.doc[r]), int(batch.start[r]) + c)
                assert key not in found
                assert batch.args["attention_mask"][r, c] == 1
                found[key] = int(batch.tokens[r, c])
    first = 1 if bos and not include else 0
    want = {(d, p): ids[p] for d, ids in enumerate(documents) for p in range(first, len(ids))}
    assert found == want
    assert batches.n_tokens == len(want)
    assert len(batches) == len(list(batches))


def test_a_note_says_what_was_split(caplog):
    with caplog.at_level(logging.WARNING, logger="satlens"):
        batches = token_batches([[3] * 10, [4] * 3], 2, context=4)
    note = (
        "1 of 2 documents are longer than the model's context of 4 tokens; they were split into 3 "
        "windows. Nothing is lost, but a window does not see the one before."
    )
    assert batches.note == note
    assert [record.getMessage() for record in caplog.records] == [note]
    list(batches), list(batches)
    assert len(caplog.records) == 1
    assert token_batches([[3] * 4], 2, context=4).note is None


def test_batches_own_their_ids():
    ids = torch.tensor([3, 4])
    (batch,) = token_batches([ids], 1)
    ids[0] = 6
    assert batch.tokens.tolist() == [[3, 4]]


BAD = [
    ([], r"Got no documents \(an empty list\); pass a string, a list of strings"),
    (torch.zeros(0, 3, dtype=torch.long), r"Got no documents"),
    ("", r"Document 0 has no tokens: the text is ''"),
    (["a", "  "], r"Document 1 has no tokens: the text is '  '"),
    ([[3], []], r"Document 1 is empty"),
    ([[3], [2.5]], r"Document 1 holds torch.float32; token ids are whole numbers"),
    ([[3], [True]], r"Document 1 holds torch.bool; token ids are whole numbers"),
    ([[3], [7]], r"Document 1 has ids from 7 to 7; the model reads 0 \.\. 6"),
    ([[-1, 3]], r"Document 0 has ids from -1 to 3; the model reads 0 \.\. 6"),
    ([[3, [4]]], r"Document 0 holds no flat list of token ids"),
    ([[[3, 4]]], r"Document 0 has shape \(1, 2\); ids of one document are 1-D"),
    ([None], r"Document 0 is NoneType; pass a string"),
    ([b"a"], r"Document 0 is bytes; pass a string"),
    (None, r"Cannot read NoneType; pass a string"),
    (7, r"Cannot read int; pass a string"),
    (b"a", r"Cannot read bytes; pass a string"),
    (torch.zeros(1, 2, 3), r"Got an array of shape \(1, 2, 3\); token ids have one document"),
    (torch.zeros(1, 2), r"Document 0 holds torch.float32"),
    ({"ids": [[3]]}, r"The mapping has the keys \['ids'\]; input_ids is missing"),
    (
        {"input_ids": [[3, 4]], "attention_mask": [[1, 1], [1, 1]]},
        r"input_ids has 1 rows, attention_mask 2",
    ),
    (
        {"input_ids": [[3, 4]], "attention_mask": [[1, 1, 1]]},
        r"Row 0: input_ids has shape \(2,\), attention_mask \(3,\)",
    ),
    (
        {"input_ids": [[3, 4]], "attention_mask": [[0, 0]]},
        r"Row 0: the attention mask leaves out every position",
    ),
    (
        {"input_ids": [[3, 4, 5]], "attention_mask": [[1, 0, 1]]},
        r"Row 0: the attention mask has holes; padding stands before or after the text",
    ),
    ([[0]], r"Document 0 has no token besides special ones \(\[0\]\); pass include_bos=True"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_input_that_cannot_be_read(inputs, message, tokenizer):
    with pytest.raises(InputError, match=message):
        token_batches(inputs, 2, tokenizer=tokenizer, vocabulary=7)


def test_text_without_a_tokenizer():
    with pytest.raises(InputError, match=r"Document 0 is text, but the model has no tokenizer"):
        token_batches("a b", 2)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, None])
def test_batch_sizes_that_are_none(batch_size):
    with pytest.raises(InputError, match="batch_size must be"):
        token_batches([[3]], batch_size)


def test_a_context_without_room():
    with pytest.raises(InputError, match="A context of 1 leaves no room beside the special tokens"):
        token_batches([[0, 3]], 1, tokenizer=make_tokenizer(bos_token="<s>"), context=1)


IMAGE = dict(shape=(3, 4, 4), n_positions=5, dtype=torch.float32)


def test_one_position_an_image_counts():
    batches = image_batches({"pixel_values": torch.ones(3, 3, 4, 4)}, 2, **IMAGE)
    assert [batch.doc.tolist() for batch in batches] == [[0, 1], [2]]
    for batch in batches:
        assert batch.real[:, 0].all()
        assert not batch.real[:, 1:].any()
        assert (batch.tokens == -1).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(3, 4, 4), r"reads float pixels \[batch, 3, 4, 4\]; got \(3, 4, 4\)"),
        (torch.ones(1, 3, 4, 4, dtype=torch.long), r"reads float pixels"),
        (torch.ones(1, 3, 8, 8), r"The images have shape \(3, 8, 8\); the model reads \(3, 4, 4\)"),
        (torch.ones(0, 3, 4, 4), r"Got no images"),
        (torch.full((1, 3, 4, 4), float("nan")), r"The pixels hold NaN or infinite values"),
    ],
)
def test_images_that_cannot_be_read(inputs, message):
    with pytest.raises(InputError, match=message):
        image_batches(inputs, 2, **IMAGE)
