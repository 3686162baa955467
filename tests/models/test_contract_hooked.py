"""The hosts of TransformerLens 3 against the contract of `ResidualModel`."""

import pytest

from tests.builders import HAS_HOOKED, NO_HOOKED, random_hooked, random_hooked_encoder
from tests.contracts.residual_model import PairContract, ResidualModelContract

if not HAS_HOOKED:
    pytest.skip(NO_HOOKED, allow_module_level=True)

LLAMA = dict(
    positional_embedding_type="rotary",
    rotary_dim=8,
    normalization_type="RMS",
    final_rms=True,
    gated_mlp=True,
    act_fn="silu",
)


class TestHookedTransformer(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(
        scope="class",
        params=[
            {},
            LLAMA,
            {"parallel_attn_mlp": True},
            {"output_logits_soft_cap": 2.0},
            {"normalization_type": None},
        ],
        ids=["gpt2", "rotary", "parallel", "soft-cap", "no-norm"],
    )
    @classmethod
    def host(cls, request):
        return random_hooked(cls.n_layers, **request.param)


class TestHookedEncoder(ResidualModelContract):
    n_layers = 3

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_hooked_encoder("bert")


class TestHookedEncoderDecoder(PairContract):
    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_hooked_encoder("t5")
