"""Masked positions: which count, the helper that masks text, and the rules that can be asked for."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import satlens
from satlens.errors import InputError, ModelError
from satlens.models import mask_documents, with_masks, wrap
from satlens.models.inputs.masks import Masks
from satlens.models.inputs.text import token_batches
from tests.builders import (
    HAS_HOOKED,
    random_hf,
    random_hooked_encoder,
    random_other,
    random_other_hf,
)
from tests.models.test_inputs import make_tokenizer, rows

MASK = 6  # "d" of the little vocabulary plays the mask
HOSTS = {"bridge": lambda: random_other("bert"), "bare": lambda: random_other_hf("bert")}
if HAS_HOOKED:
    HOSTS["hooked"] = lambda: random_hooked_encoder("bert")


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(cls_token="[CLS]", sep_token="[SEP]", mask_token="d")


@pytest.fixture(scope="module", params=HOSTS)
def host(request):
    return HOSTS[request.param]()


def test_a_document_with_masks_counts_there_and_another_everywhere(tokenizer, caplog):
    read = dict(tokenizer=tokenizer, bidirectional=True)
    with caplog.at_level(logging.WARNING, logger="satlens"):
        found = rows(["a d b", "a b", "d c d d"], **read)
    assert found == {0: [(2, 6)], 1: [(1, 3), (2, 4)], 2: [(1, 6), (3, 6), (4, 6)]}
    assert caplog.messages == [
        "2 of 3 documents hold masks and count there alone; of the other 1 every position counts, where "
        'the model reads the word that it is asked for. satlens.models.with_masks(model, rule="masked") '
        "refuses them."
    ]
    caplog.clear()
    for text in ("a d b", "a b"):
        rows([text], **read)
    assert not caplog.messages


def test_the_frame_still_counts_on_request(tokenizer):
    read = dict(tokenizer=tokenizer, bidirectional=True, include_bos=True)
    assert rows("a d b", **read) == {0: [(0, 1), (2, 6), (4, 2)]}


def test_a_mask_means_nothing_to_a_causal_model(tokenizer):
    assert rows("a d", tokenizer=tokenizer, prepend_bos=False) == {0: [(0, 3), (1, 6)]}


@pytest.mark.parametrize(
    ("rule", "found"),
    [("all", {0: [(0, 3), (1, 6)], 1: [(0, 3)]}), ("auto", {0: [(1, 6)], 1: [(0, 3)]})],
)
def test_rules(rule, found):
    masks = Masks(MASK, "d", rule)
    assert rows([[3, 6], [3]], bidirectional=True, masks=masks) == found


def test_only_masked_positions_and_a_document_without():
    masks = Masks(MASK, "d", "masked")
    assert rows([[3, 6], [6]], bidirectional=True, masks=masks) == {0: [(1, 6)], 1: [(0, 6)]}
    with pytest.raises(InputError, match=r"Document 1 holds no d \(id 6\), and only masked"):
        token_batches([[3, 6], [3]], 2, bidirectional=True, masks=masks)
    with pytest.raises(InputError, match=r"The rule 'some' is not known\. Choices: 'auto'"):
        Masks(MASK, "d", "some")


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    context=st.integers(3, 12),
    framed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_masks_over_windows_against_the_plain_reading(lengths, context, framed, seed):
    generator = torch.Generator().manual_seed(seed)
    body = [torch.randint(3, 7, (n,), generator=generator).tolist() for n in lengths]
    documents = [[1, *ids, 2] if framed else ids for ids in body]
    tokenizer = make_tokenizer(cls_token="[CLS]", sep_token="[SEP]", mask_token="d")
    read = dict(tokenizer=tokenizer, bidirectional=True, context=context)
    everything = rows(documents, masks=Masks(), **read)
    want = {
        doc: [one for one in counted if one[1] == MASK] or counted
        for doc, counted in everything.items()
    }
    assert rows(documents, **read) == want
    for batch in token_batches(documents, 2, **read):
        assert batch.real.any(1).all()  # no window is read for nothing


def test_events_are_those_of_the_masked_positions(host):
    model = wrap(host)
    documents = [[3, 6, 9, 6], [6, 12]]
    whole = satlens.detect(model, documents, k=3)
    events = satlens.detect(with_masks(model, mask=MASK), documents, k=3)
    masked = np.isin(whole.input, [MASK])
    assert list(zip(events.doc, events.pos, strict=True)) == [(0, 1), (0, 3), (1, 0)]
    for name in ("layer", "token", "doc", "pos", "input"):
        assert np.array_equal(getattr(events, name), getattr(whole, name)[masked]), name


def test_the_rule_reaches_what_reads_the_models_example(host):
    """`wrap` checks another readout on it, and `satlens.exits` counts the blocks' products on it."""
    model = with_masks(host, mask=MASK)
    assert wrap(model, readout=model.readout).n_layers == 3
    documents = [[3, 6, 9, 6], [6, 12], [5, 6, 7]]
    result = satlens.exits.evaluate(model, documents, [satlens.exits.SoftmaxResponse(0.5)])
    assert result.tokens.tolist() == [2, 1, 1]


def test_a_tokenizers_mask_is_known_without_being_named(tokenizer):
    host = random_other_hf("bert")
    host.tokenizer = tokenizer
    events = satlens.detect(host, ["a d b", "d c"], k=2)
    assert list(zip(events.doc, events.pos, strict=True)) == [(0, 2), (1, 1)]
    everything = with_masks(host, rule="all")
    assert len(satlens.detect(everything, ["a d b", "d c"], k=2)) == 5


def test_a_share_of_the_tokens_is_masked(tokenizer):
    host = random_other_hf("bert")
    host.tokenizer = tokenizer
    texts = [" ".join(["a", "b", "c"] * n) for n in (1, 7, 10)]
    documents = mask_documents(host, texts, share=0.15, seed=3)
    for ids, original, words in zip(documents.ids, documents.original, (3, 21, 30), strict=True):
        assert original == [1, *[3, 4, 5] * (words // 3), 2]
        changed = [place for place, token in enumerate(ids) if token != original[place]]
        assert [ids[place] for place in changed] == [MASK] * max(1, round(0.15 * words))
        assert 0 not in changed
        assert len(ids) - 1 not in changed
    assert mask_documents(host, texts, seed=3) == documents
    assert mask_documents(host, texts, seed=4) != documents
    assert mask_documents(host, texts[:2], seed=3).ids == documents.ids[:2]
    events = satlens.detect(host, documents.ids, k=2)
    answers = documents.answers(events.doc, events.pos)
    assert len(events) == 1 + 3 + 4
    assert (events.input == MASK).all()
    assert answers.tolist() == [
        documents.original[doc][pos] for doc, pos in zip(events.doc, events.pos, strict=True)
    ]


def test_every_place_is_drawn_as_often(tokenizer):
    """4000 documents of 10 tokens, 2 masked: each place 800 times, within 5 standard deviations."""
    model = with_masks(random_other_hf("bert"), mask=MASK)
    documents = mask_documents(model, [[9] * 10] * 4000, share=0.2, seed=0)
    counts = (np.array(documents.ids) == MASK).sum(0)
    assert counts.sum() == 8000
    assert np.abs(counts - 800).max() < 5 * np.sqrt(4000 * 0.2 * 0.8)


def test_what_cannot_be_masked(tokenizer):
    host = random_other_hf("bert")
    with pytest.raises(ModelError, match=r"No mask token is known of BertForMaskedLM.*with_masks"):
        mask_documents(host, [[3]])
    with pytest.raises(InputError, match=r"No mask token is known .* name its id"):
        with_masks(host)
    with pytest.raises(InputError, match="mask is 50; the model reads ids from 0 to below 50"):
        with_masks(host, mask=50)
    model = with_masks(host, mask=MASK)
    for share in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match="share is"):
            mask_documents(model, [[3]], share=share)
    with pytest.raises(InputError, match=r"Document 1 holds \[MASK\] already"):
        mask_documents(model, [[3], [6]])
    host.tokenizer = tokenizer
    with pytest.raises(
        InputError, match=r"Document 0 has no token besides special ones \(\[1, 2\]\)"
    ):
        mask_documents(host, [[1, 2]])
    for call in (lambda m: with_masks(m, mask=3), lambda m: mask_documents(m, [[3]])):
        with pytest.raises(ModelError, match="GPT2LMHeadModel is no masked language model"):
            call(random_hf("gpt2"))
