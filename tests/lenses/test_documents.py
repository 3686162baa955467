"""Parts that share no document: what a document is to models that read no text."""

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.lenses import split_documents
from satlens.lenses.documents import check_apart, inputs_sha256
from satlens.models import tensor_batches
from tests.models.speech import random_ctc, random_whisper, sounds

WAVES = sounds([900] * 6)  # of one length, so only what is heard tells them apart


def heard(waves):
    return satlens.wrap(random_ctc()).batches(waves, 2)


def spoken(waves):
    return satlens.wrap(random_whisper()).batches([(wave, [3, 4, 5]) for wave in waves], 2)


def items(waves):
    return tensor_batches(torch.stack(waves), 2, n_positions=3)


@pytest.mark.parametrize("read", [heard, spoken, items])
def test_recordings_of_one_length_are_told_apart_by_what_is_heard(read):
    first, second = split_documents(read(WAVES), 0.5)
    docs = [{row.doc for row in part.rows} for part in (first, second)]
    assert [len(one) for one in docs] == [3, 3] and docs[0] | docs[1] == set(range(6))
    assert inputs_sha256(read(WAVES)) != inputs_sha256(read([*WAVES[:5], WAVES[5].flip(0)]))
    assert inputs_sha256(read(WAVES)) == inputs_sha256(read(WAVES))


@pytest.mark.parametrize("read", [heard, spoken, items])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_recording_twice_is_on_one_side(read, seed):
    waves = [*WAVES, *WAVES[:3]]
    first, _ = split_documents(read(waves), 0.5, seed)
    inside = np.isin(np.arange(9), [row.doc for row in first.rows])
    assert np.array_equal(inside[:3], inside[6:])
    with pytest.raises(InputError, match="hold 3, of 1 different content"):
        split_documents(read([WAVES[0]] * 3), 0.5)


@pytest.mark.parametrize("read", [heard, spoken, items])
def test_a_document_on_both_sides_is_told(read):
    check_apart(read(WAVES[:3]), read(WAVES[3:]))
    check_apart(*split_documents(read([*WAVES, *WAVES[:3]]), 0.5))
    both = "1 of the 2 held-out documents are among the training ones, .* document 1 is the first"
    with pytest.raises(InputError, match=both):
        check_apart(read(WAVES[:3]), read([WAVES[4], WAVES[0]]))
