"""T5 bridges against the contract of `ResidualModel`."""

import pytest

from tests.builders import HAS_HOOKED, random_other
from tests.contracts.residual_model import PairContract

if HAS_HOOKED:
    pytest.skip(
        "T5 bridges with transformers >= 5.15 need TransformerLens >= 4.3", allow_module_level=True
    )


class TestT5Bridge(PairContract):
    @pytest.fixture(scope="class", params=["t5", "t5-untied"])
    @classmethod
    def host(cls, request):
        return random_other(request.param)
