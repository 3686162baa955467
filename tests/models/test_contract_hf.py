"""Bare Hugging Face encoders and encoder-decoders, and Mamba, against the contract of `ResidualModel`."""

import pytest

import satlens
from satlens.errors import InputError
from tests.builders import random_bridge, random_hf, random_other_hf
from tests.contracts.residual_model import PairContract, ResidualModelContract


class TestMaskedLanguageModel(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class", params=["bert", "roberta", "distilbert"])
    @classmethod
    def host(cls, request):
        return random_other_hf(request.param)


class TestEncoderDecoder(PairContract):
    @pytest.fixture(scope="class", params=["t5", "t5-untied", "mt5", "bart", "mbart"])
    @classmethod
    def host(cls, request):
        return random_other_hf(request.param)


class TestEncoderDecoderWithABiasBehindTheHead(PairContract):
    # The bias stands outside the head, so it is no linear map that satlens knows: scored as it is.
    test_its_readout_ends_in_a_linear_map = None

    def test_every_method_gives_the_same_events(self, model, inputs):
        want = satlens.detect(model, inputs, k=3, method="plain")
        events = satlens.detect(model, inputs, k=3, method="backward")
        assert (events.layer == want.layer).all()
        assert (events.token == want.token).all()
        with pytest.raises(InputError, match=r'"certified" needs a lens that ends in a linear map'):
            satlens.detect(model, inputs, k=3, method="certified")

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_other_hf("marian")


class TestMamba(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class", params=["bare", "bridge"])
    @classmethod
    def host(cls, request):
        build = {"bare": random_hf, "bridge": lambda kind, **kw: random_bridge(3, family=kind)}
        return build[request.param]("mamba", layers=3)
