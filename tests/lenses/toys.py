"""Models whose later states are known functions of the earlier ones."""

from functools import partial

import torch
from torch import nn
from transformer_lens.hook_points import HookPoint

import satlens
from satlens.models.inputs.text import token_batches
from satlens.models.readout import LinearReadout


class LinearStack(nn.Module):
    """h_0 = embedding + position, h_{l+1} = B_l h_l (+ c): a linear map between any two layers."""

    def __init__(self, n_layers, d, vocab, dtype, seed, offset=0.0, rank=None):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        draw = partial(torch.randn, generator=generator, dtype=torch.float64)
        self.embed = nn.Parameter(draw(vocab, d).to(dtype))
        self.place = nn.Parameter(draw(64, d).to(dtype))
        steps = [torch.linalg.qr(draw(d, d)).Q for _ in range(n_layers - 1)]
        if rank is not None:  # the last step keeps a few directions only
            steps[-1] = draw(d, rank) @ draw(rank, d) / d**0.5
        self.steps = nn.ParameterList([nn.Parameter(step.to(dtype)) for step in steps])
        self.offset = nn.Parameter((offset * draw(d)).to(dtype))
        self.points = nn.ModuleList([HookPoint() for _ in range(n_layers)])
        self.unembed = nn.Linear(d, vocab, bias=False, dtype=dtype)
        self.unembed.weight.data = draw(vocab, d).to(dtype)

    def forward(self, tokens):
        h = self.points[0](self.embed[tokens] + self.place[: tokens.shape[1]])
        for step, point in zip(self.steps, self.points[1:], strict=True):
            h = point(h @ step.T + self.offset)
        return self.unembed(h)

    def product(self, i, j):
        """The map from layer i to layer j, in float64."""
        total = torch.eye(self.embed.shape[1], dtype=torch.float64)
        for step in self.steps[i:j]:
            total = step.detach().double() @ total
        return total


def linear_model(
    n_layers=4, d=8, vocab=30, dtype=torch.float32, seed=0, offset=0.0, rank=None
) -> satlens.ResidualModel:
    """A `LinearStack` as satlens sees it."""
    host = LinearStack(n_layers, d, vocab, dtype, seed, offset, rank).eval()
    return satlens.ResidualModel(
        host=host, name="linear stack", hook_points=tuple(host.points), d_model=d, n_outputs=vocab,
        batches=partial(token_batches, vocabulary=vocab), readout=LinearReadout((), host.unembed),
        forward=lambda batch: host(batch.tokens),
    )  # fmt: skip
