from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens import detect
from satlens.errors import InputError
from satlens.models import wrap
from satlens.models.inputs.text import token_batches
from satlens.patching.jobs import Jobs, gather, run_jobs
from satlens.patching.rows import Rows, TokenIndex, packs
from tests.builders import random_hooked, random_ids, random_other

CONTEXT = 12


@pytest.fixture(scope="module")
def model():
    return wrap(random_hooked(n_ctx=CONTEXT, dtype=torch.float64))


def with_bos(model):
    """The same model behind a tokenizer whose BOS is id 0."""
    tokenizer = SimpleNamespace(bos_token_id=0)
    batches = partial(token_batches, tokenizer=tokenizer, context=CONTEXT, vocabulary=50)
    return replace(model, batches=batches)


@settings(max_examples=20)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=5), st.booleans(), st.integers(0, 99))
def test_every_token_is_found_where_the_model_reads_it(model, lengths, bos, seed):
    documents = random_ids(50, lengths, seed)
    if bos:
        model, documents = with_bos(model), [[0, *ids] for ids in documents]
    rows = Rows.of(model, documents)
    events = detect(model, documents, k=1)
    row, column = rows.find(events.doc, events.pos)
    read = [int(rows.batches.rows[r].ids[c]) for r, c in zip(row, column, strict=True)]
    assert read == [documents[d][p] for d, p in zip(events.doc, events.pos, strict=True)]
    assert read == events.input.tolist()
    # Cut rows, many in a pass, give what whole documents give.
    for ran in run_jobs(rows, Jobs(row, column), max_tokens=30):
        batch_of = [int(i) for i in ran.job]
        whole = gather(rows, row[batch_of], column[batch_of], np.full(len(batch_of), 2),
                       max_tokens=100)  # fmt: skip
        torch.testing.assert_close(ran.resid[2], whole)
        assert (ran.logits.argmax(1).cpu().numpy() == events.token[batch_of, 0]).all()


def test_rows_are_cut_only_where_nothing_behind_is_read(model):
    ids = random_ids(50, [9, 9])
    rows = Rows.of(model, ids)
    assert rows.batch(np.array([0, 1]), np.array([3, 5])).tokens.shape == (2, 6)
    assert rows.lengths(np.array([0, 1]), np.array([3, 5])).tolist() == [4, 6]
    bert = Rows.of(wrap(random_other("bert")), ids)
    assert bert.batch(np.array([0, 1]), np.array([3, 5])).tokens.shape == (2, 9)
    assert bert.lengths(np.array([0, 1]), np.array([3, 5])).tolist() == [9, 9]
    pairs = Rows.of(wrap(random_other("bart")), [([5, 6, 7], [2, 8, 9, 10])])
    assert pairs.batch(np.array([0]), np.array([1])).tokens.shape == (1, 4)


def test_a_token_that_is_not_there_is_named(model):
    rows = Rows.of(model, random_ids(50, [5, 9]))
    with pytest.raises(
        InputError,
        match="1 of 2 tokens are not in the inputs, the first at position 5 of document 0",
    ):
        rows.find(np.array([1, 0]), np.array([5, 5]))


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 60))
def test_packs_hold_every_job_once_and_are_not_too_large(lengths, most):
    lengths = np.array(lengths, dtype=int)
    found = list(packs(lengths, most))
    assert sorted(np.concatenate([*found, []]).tolist()) == list(range(len(lengths)))
    for pack in found:
        assert len(pack) == 1 or len(pack) * lengths[pack].max() <= most
    assert [lengths[p].max() for p in found] == sorted(
        (lengths[p].max() for p in found), reverse=True
    )


def test_an_empty_index_finds_nothing():
    index = TokenIndex.of(np.array([], int), np.array([], int))
    assert index.find(np.array([0, 1]), np.array([2, 3])).tolist() == [-1, -1]


def test_jobs_of_different_lengths_are_refused():
    with pytest.raises(InputError, match=r"2 jobs want as many of everything; got \{'layer': 1\}"):
        Jobs(np.array([0, 1]), np.array([0, 1]), np.array([2]))


def test_gathered_states_are_copies(model):
    rows = Rows.of(model, random_ids(50, [9]))
    state = gather(rows, np.array([0]), np.array([4]), np.array([1]), max_tokens=50)
    again = gather(rows, np.array([0]), np.array([4]), np.array([1]), max_tokens=50)
    state.zero_()
    assert bool((again != 0).any())
    assert gather(rows, *[np.array([], int)] * 3, max_tokens=50).shape == (0, 32)
