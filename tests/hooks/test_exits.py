"""The recipe that leaves early does what `satlens.exits` does, and what its formula says."""

import numpy as np
import pytest
import torch

import satlens
from hooks.leave_by_softmax_response import leave_by_softmax_response
from hooks.logit_lens import logit_lens
from satlens.exits import SoftmaxResponse, evaluate
from tests.exits.toys import unit_costs
from tests.hooks.hosts import TOKENS, attached

THRESHOLDS = (0.0, 0.05, 0.3, 1.0)


@pytest.mark.parametrize("mean_length", [None, 6.0])
def test_it_leaves_where_satlens_does(model, mean_length):
    if len(model.blocks) < 2:
        pytest.skip("one block: there is nowhere to leave early")
    policies = [SoftmaxResponse(t, mean_length=mean_length) for t in THRESHOLDS]
    # Without the text's own tokenizer every position counts, the first one too.
    found = evaluate(satlens.wrap(model), TOKENS, policies, cost=unit_costs(len(model.blocks)))
    full = model(TOKENS).argmax(-1)
    for point, threshold in enumerate(THRESHOLDS):
        layer, logits = leave_by_softmax_response(model, TOKENS, threshold, mean_length)
        for row in range(len(TOKENS)):
            counts = np.bincount(layer[row].numpy(), minlength=len(model.blocks))
            assert counts.tolist() == found.exits[point, row].tolist(), threshold
            agree = int((logits[row].argmax(-1) == full[row]).sum())
            assert agree == found.agree[point, row]


def test_the_answer_is_the_lens_at_the_exit(model):
    layer, logits = leave_by_softmax_response(model, TOKENS, 0.1)
    every = logit_lens(model, TOKENS, lambda z: z)
    rows, places = torch.meshgrid(*(torch.arange(n) for n in TOKENS.shape), indexing="ij")
    torch.testing.assert_close(logits, every[layer, rows, places])


def test_never_and_at_once(model):
    last = len(model.blocks) - 1
    layer, logits = leave_by_softmax_response(model, TOKENS, 1.5)
    assert (layer == last).all() and torch.equal(logits, model(TOKENS))
    layer, _ = leave_by_softmax_response(model, TOKENS, -1.0)
    assert (layer == 0).all()


def test_no_hook_is_left(model, monkeypatch):
    before = attached(model)
    leave_by_softmax_response(model, TOKENS, 0.3)
    assert attached(model) == before
    if len(model.blocks) < 2:
        return  # nothing is hooked

    def broken(model, resid):
        raise ZeroDivisionError("inside the hook")

    monkeypatch.setattr("hooks.leave_by_softmax_response.readout", broken)
    with pytest.raises(ZeroDivisionError):
        leave_by_softmax_response(model, TOKENS, 0.3)
    assert attached(model) == before
