import pytest

from satlens.lenses import LogitLens
from tests.contracts.lens import LensContract


class TestLogitLens(LensContract):
    @pytest.fixture
    def lens(self, model):
        return LogitLens(model)
