"""The questions asked of encoders, decoders, Mamba and the LSTM: order, nulls, twins and patches."""

import numpy as np
import pytest
import torch

import satlens
from satlens.models import mask_documents, with_masks, wrap
from satlens.nulls import draw_nulls
from satlens.patching import CONDITIONS, find_pairs, patch
from tests.builders import random_bridge, random_hf, random_ids, random_other_hf
from tests.models.test_contract_lstm import random_lstm

N, K, MASK = 30, 3, 49
DOCUMENTS = random_ids(MASK, [8] * N)
PAIRS = [
    (source, [0, *target])
    for source, target in zip(
        random_ids(50, [5] * N, seed=2), random_ids(50, [6] * N, seed=3), strict=True
    )
]


def masked_bert():
    model = with_masks(random_other_hf("bert"), mask=MASK)
    return model, mask_documents(model, DOCUMENTS, share=0.4).ids


KINDS = {
    "bert": masked_bert,
    "t5": lambda: (wrap(random_other_hf("t5")), PAIRS),
    "bart": lambda: (wrap(random_other_hf("bart")), PAIRS),
    "mamba": lambda: (wrap(random_hf("mamba")), DOCUMENTS),
    "mamba-bridge": lambda: (wrap(random_bridge(3, family="mamba")), DOCUMENTS),
    "lstm": lambda: (wrap(random_lstm(6)), DOCUMENTS),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]()


@pytest.fixture(scope="module")
def patched(kind):
    model, inputs = kind
    events = satlens.detect(model, inputs, k=K)
    pairs = find_pairs(events, gap=1, across=True)
    return events, patch(model, inputs, pairs, k=K)


def test_a_self_patch_changes_nothing_and_others_do(patched):
    _, result = patched
    own, other = result.condition == "self", result.condition == "random_donor"
    clean = result.clean
    assert set(result.condition) == set(CONDITIONS)
    assert (result.new.layer[own] == clean.layer[result.pair[own]]).all()
    assert (result.new.token[own] == clean.token[result.pair[own]]).all()
    assert (result.new.token[other] != clean.token[result.pair[other]]).any()


def test_a_patch_equals_one_by_hand(kind, patched):
    """The state of one document's position behind block l, put into a position of another document."""
    model, inputs = kind
    events, result = patched
    rows = {int(batch.doc[0]): batch for batch in model.batches(inputs, 1)}
    for number in np.flatnonzero(result.condition == "paired")[:6]:
        layer, pair = int(result.layer[number]), result.pair[number]
        donor, recipient = result.pairs.donor[pair], result.pairs.recipient[pair]
        assert events.doc[donor] != events.doc[recipient]
        states = model.states(rows[int(events.doc[donor])])
        state = states.resid[layer, (states.pos == int(events.pos[donor])).nonzero()[0, 0]]
        column = int(events.pos[recipient])

        def put(resid, hook, state=state, column=column):
            resid = resid.clone()
            resid[0, column] = state
            return resid

        with torch.no_grad(), model.hooks([(layer, put)]):
            logits = model.forward(rows[int(events.doc[recipient])])[0, column]
        assert result.new.token[number].tolist() == logits.topk(K).indices.tolist()


def test_order_nulls_and_the_untrained_twin(kind):
    model, inputs = kind
    events = satlens.detect(model, inputs, k=K)
    nulls = draw_nulls(model, inputs, draws=2, k=K)
    assert sorted(nulls) == ["exchanged", "line", "rotated", "walk"]
    assert 0 <= satlens.order.concordance(events).estimate.value <= 1
    twin = satlens.detect(satlens.untrained(model, seed=1), model.batches(inputs, 8), k=K)
    assert np.array_equal(np.sort(twin.input), np.sort(events.input))
    assert (twin.layer[np.lexsort((twin.pos, twin.doc))] != events.layer).any()
