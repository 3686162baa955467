"""Bridges and Hugging Face modules against the contract of `ResidualModel`."""

import pytest
import torch

from tests.builders import random_bridge, random_hf, random_native, random_other
from tests.contracts.residual_model import PairContract, ResidualModelContract


class TestDecoderBridge(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(
        scope="class", params=["gpt2", "llama", "gpt_neox", "gemma2", "cohere", "granite"]
    )
    @classmethod
    def host(cls, request):
        return random_bridge(cls.n_layers, family=request.param, **SCALES.get(request.param, {}))


class TestHuggingFace(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(
        scope="class",
        params=[
            "gpt2",
            "llama",
            "gpt_neox",
            "gpt_neo",
            "opt",
            "gemma2",
            "cohere",
            "granite",
            "phi",
        ],
    )
    @classmethod
    def host(cls, request):
        return random_hf(request.param, layers=cls.n_layers, **SCALES.get(request.param, {}))


SCALES = {
    # A cap and scales that change the logits of a small model visibly.
    "gemma2": {"final_logit_softcapping": 0.2},
    "cohere": {"logit_scale": 3.0},
    "granite": {"logits_scaling": 4.0},
}


class TestNativeBridge(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_native()


class TestBertBridge(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_other("bert")


class TestBartBridge(PairContract):
    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_other("bart")


class TestImageBridge(ResidualModelContract):
    n_layers = 3
    test_padding_on_either_side_gives_the_same_rows = None  # images are not padded

    @pytest.fixture(scope="class", params=["vit", "deit"])
    @classmethod
    def host(cls, request):
        return random_other(request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
