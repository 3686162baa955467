"""A module of one's own, wrapped by hand, against the contract of `ResidualModel`."""

from functools import partial

import pytest
import torch
from torch import nn

from satlens.errors import ModelError
from satlens.models import HookedModule, LinearReadout, ResidualModel, tensor_batches, verify
from tests.contracts.residual_model import ResidualModelContract


class Block(nn.Module):
    """Post-norm, and every position reads every other one."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.mix, self.norm = nn.Linear(d, d), nn.LayerNorm(d)

    def forward(self, x):
        return self.norm(x + self.mix(x + x.mean(1, keepdim=True)).tanh())


class Classifier(nn.Module):
    """Items [batch, 5] cut into single numbers, a class token in front, four blocks, nine classes."""

    def __init__(self, d: int = 16) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(1, d), nn.Parameter(torch.randn(1, 1, d))
        self.place = nn.Parameter(torch.randn(1, 6, d))
        self.blocks = nn.ModuleList(Block(d) for _ in range(4))
        self.head = nn.Linear(d, 9)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x[..., None])], 1) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


def by_hand(host: Classifier) -> ResidualModel:
    hooked = HookedModule(host, host.blocks)

    def scores(batch):
        return hooked(batch.args["inputs"])[:, None].expand(-1, 6, -1)

    return verify(
        ResidualModel(
            host=host,
            name="classifier",
            hook_points=tuple(block.hook_resid_post for block in hooked.blocks),
            attached=hooked.attached,
            readout=LinearReadout((), host.head),
            forward=scores,
            batches=partial(tensor_batches, n_positions=6, shape=(5,)),
            d_model=16,
            n_outputs=9,
            example=torch.linspace(-1, 1, 5)[None],
        )
    )


class TestOwnModule(ResidualModelContract):
    n_layers = 4
    test_padding_on_either_side_gives_the_same_rows = None  # items are not padded
    # These give the host to `wrap`; here it is wrapped by hand and checked by `verify`.
    test_hooks_are_removed_and_nothing_is_changed = None
    test_a_wrong_readout_is_refused = None

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Classifier().eval()

    @pytest.fixture
    def model(self, host):
        return by_hand(host)

    def test_training_mode_is_refused(self, host):
        host.train()
        try:
            with pytest.raises(ModelError, match=r"is in training mode.*model\.eval\(\)"):
                by_hand(host)
        finally:
            host.eval()

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls):
        return torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
