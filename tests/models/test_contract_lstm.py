"""The stacked LSTM against the contract of `ResidualModel`."""

import pytest
import torch

from satlens.zoo.lstm import LSTMConfig, ResidualLSTM
from tests.contracts.residual_model import ResidualModelContract


def random_lstm(layers: int = 12, seed: int = 0) -> ResidualLSTM:
    """A stacked LSTM with norms and biases that differ, so that a wrong one shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ResidualLSTM(LSTMConfig(vocab_size=50, hidden_size=32, num_hidden_layers=layers))
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


class TestStackedLSTM(ResidualModelContract):
    n_layers = 12

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        return random_lstm()
