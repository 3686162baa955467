"""Blocks used and loss, beside loops by hand; JSON and back; what is refused."""

import json

import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.nulls import draw_nulls
from satlens.theory.depth import Spent, spent
from tests.builders import random_hf, random_ids, random_other_hf

IDS = random_ids(50, [7, 12, 3, 9])


@pytest.fixture(scope="module")
def host():
    return random_hf("llama", vocab=50, layers=4).eval()


@pytest.fixture(scope="module")
def found(host):
    return spent(host, IDS, k=3, draws=2, batch_size=2)


def test_blocks_used_are_those_of_detect(host, found):
    events = satlens.detect(host, IDS, k=3)
    assert found.tokens.tolist() == [7, 12, 3, 9]
    for row, doc in enumerate(found.doc):
        layers = events.layer[events.doc == doc]
        assert np.array_equal(found.used[row], (layers + 1.0).sum(0))
    used = (events.layer + 1.0).mean(0)
    assert found.blocks_used().value == pytest.approx(used)
    assert found.after().value == pytest.approx(1 - used / 4)


def test_the_nulls_are_those_of_the_order(host, found):
    nulls = draw_nulls(host, IDS, kinds=("rotated", "exchanged"), draws=2, k=3, batch_size=2)
    for kind, null in nulls.items():
        used = (null.layer + 1.0).mean((0, 1))
        assert found.null[kind].sum(0) / found.tokens.sum() == pytest.approx(used)
        excess = found.excess(kind, draws=50).value
        assert excess == pytest.approx((used - found.blocks_used(draws=50).value) / 4)


def test_the_loss_is_the_models_own(host, found):
    for row, ids in enumerate(IDS):
        with torch.no_grad():
            logits = host(torch.tensor([ids])).logits[0, :-1]
        nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
        assert found.nats[row] == pytest.approx(float(nats), rel=1e-5)
    assert found.targets.tolist() == [6, 11, 2, 8]
    assert found.loss(draws=50).value == pytest.approx(found.nats.sum() / 27)


def test_a_host_of_transformer_lens(tiny_host):
    stories = ["Lily had a red ball.", "The dog ran to the park. It was fun."]
    found = spent(tiny_host, stories, k=2, draws=1)
    events = satlens.detect(tiny_host, stories, k=2)
    assert found.blocks_used(draws=20).value == pytest.approx((events.layer + 1.0).mean(0))
    assert 0.5 < found.loss(draws=20).value < 4


def test_a_model_that_predicts_no_next_token_has_no_loss():
    found = spent(random_other_hf("bert"), [[5, 6, 7], [8, 9]], k=2, kinds=())
    assert np.isnan(found.loss().value) and "no next token" in found.loss().note
    assert found.null == {} and found.k == 2


def test_a_model_that_is_done_after_two_blocks(host):
    class Still(torch.nn.Module):
        def forward(self, hidden_states, **_):
            return hidden_states

    still = random_hf("llama", vocab=50, layers=4).eval()
    for place in (2, 3):
        still.model.layers[place] = Still()
    found = spent(still, IDS, k=3, kinds=())
    assert (found.used <= 2 * found.tokens[:, None]).all()
    assert (found.after(draws=20).value >= 0.5).all()


def test_json_and_back(found):
    again = Spent.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict() and repr(again) == repr(found)
    frame = again.to_frame()
    assert list(frame["rank"]) == [1, 2, 3]
    assert (frame["after_low"] <= frame["after"]).all()
    assert {"excess_rotated", "excess_exchanged"} <= set(frame)


def test_what_is_refused(host, found):
    with pytest.raises(
        InputError, match="No null 'walk'.*drawn are rotated, exchanged|No null 'walk'"
    ):
        found.excess("walk")
    with pytest.raises(InputError, match="k"):
        spent(host, IDS, k=0)
    with pytest.raises(InputError, match="draws must be at least 1"):
        spent(host, IDS, draws=0)
    said = found.to_dict()
    with pytest.raises(InputError, match=r"tokens has shape \(3,\)"):
        Spent.from_dict({**said, "tokens": said["tokens"][:3]})
    with pytest.raises(InputError, match="used must be"):
        Spent.from_dict({**said, "used": []})
