"""oneDNN's linear layers give the model's own numbers, and nothing of them stays."""

import pytest
import torch

import satlens
from satlens.models import fast_linear
from satlens.models.fast_linear import fast_linears
from tests.builders import random_bridge, random_hf

IDS = torch.tensor([[1, 2, 3, 4, 5, 6]])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_logits_are_the_models_own(family):
    host = random_hf(family)
    with torch.no_grad():
        want = host(IDS).logits
        with fast_linears(host) as taken:
            assert taken > 8
            torch.testing.assert_close(host(IDS).logits, want, rtol=1e-4, atol=1e-4)
        assert torch.equal(host(IDS).logits, want)
    assert all("forward" not in vars(module) for module in host.modules())


def test_nothing_stays_after_an_error_and_twice_is_once():
    host = random_hf("gpt2")
    with pytest.raises(KeyError), fast_linears(host):
        with fast_linears(host) as again:
            assert again == 0
        raise KeyError
    assert all("forward" not in vars(module) for module in host.modules())


def test_detect_goes_through_it():
    model = satlens.wrap(random_bridge(4, 32, 60, 0))
    plain = satlens.detect(model, IDS)
    with fast_linears(model) as taken:
        assert taken > 0
        assert (satlens.detect(model, IDS).token == plain.token).all()


def test_gradients_go_the_usual_way():
    host = random_hf("gpt2")
    with fast_linears(host):
        host(IDS).logits.sum().backward()
    for parameter in (host.transformer.h[0].mlp.c_fc.weight, host.lm_head.weight):
        assert parameter.grad.abs().sum() > 0


def test_other_types_are_left_alone():
    with fast_linears(random_hf("gpt2").to(torch.bfloat16)) as taken:
        assert taken == 0


def test_without_the_private_call_nothing_is_taken(monkeypatch):
    monkeypatch.setattr(fast_linear, "PRODUCT", None)
    with fast_linears(random_hf("gpt2")) as taken:
        assert taken == 0


def test_the_private_call_is_where_it_was():
    assert fast_linear.PRODUCT is not None, "torch.ops.mkldnn._linear_pointwise has moved"
    x, w = torch.randn(3, 8), torch.randn(5, 8)
    got = fast_linear.PRODUCT(x, w, None, "none", [], "")
    torch.testing.assert_close(got, x @ w.T)
