"""Models whose states are put there, in whole numbers: every sum is exact, and scores tie often."""

from functools import partial

import torch
from torch import nn

from satlens.exits import AgreementProbe, Costs
from satlens.models.inputs.text import token_batches
from satlens.models.protocol import ResidualModel


class Preset(nn.Module):
    """Word w has the states ``table[w, 0 .. L-1]``, whatever stands around it."""

    def __init__(self, table: torch.Tensor, weight: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.points = nn.ModuleList(nn.Identity() for _ in range(table.shape[1]))

    def readout(self, resid: torch.Tensor) -> torch.Tensor:
        return resid @ self.weight.T

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        resid = None
        for layer, point in enumerate(self.points):
            resid = point(self.table[ids, layer])
        return self.readout(resid)


def preset(table: torch.Tensor, weight: torch.Tensor, causal: bool = True) -> ResidualModel:
    """A `ResidualModel` of these states ``[word, layer, d]`` and this unembedding ``[output, d]``."""
    host = Preset(table, weight).eval()
    return ResidualModel(
        host=host, name="preset", hook_points=tuple(host.points), readout=host.readout,
        forward=lambda batch: host(batch.args["input_ids"]),
        batches=partial(token_batches, vocabulary=len(table)), d_model=table.shape[2],
        n_outputs=len(weight), causal=causal,
    )  # fmt: skip


def whole_numbers(words=12, layers=5, d=4, outputs=None, seed=0, causal=True) -> ResidualModel:
    """Random states and weights between -2 and 2; from layer to layer more of the final state is in place."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(-2, 3, (words, layers, d), generator=generator).float()
    there = (
        torch.rand(words, layers, d, generator=generator) < torch.linspace(0.3, 1, layers)[:, None]
    )
    table = torch.where(there, table[:, -1:], table)
    weight = torch.randint(-2, 3, (outputs or words, d), generator=generator).float()
    return preset(table, weight, causal)


def documents(words=12, lengths=(5, 9, 1, 7), seed=0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(words, (n,), generator=generator).tolist() for n in lengths]


def unit_costs(layers=5, a=100.0, b=1.0, kv=10.0, look=30.0) -> Costs:
    """The same of every layer."""
    return Costs(*([value] * layers for value in (a, b, kv, look)))


class Probe:
    """The attributes of a fitted stage probe: 2 stages, one regression for all layers."""

    def __init__(self, d=4, seed=0, layers=(-1,), stages=3) -> None:
        generator = torch.Generator().manual_seed(seed)
        n = len(layers)
        self.classes_ = list(range(1, stages + 1))
        self.layers_ = list(layers)
        self.per_layer = self.layers_ != [-1]
        self.mean_ = torch.randint(-1, 2, (n, d), generator=generator).double().numpy()
        self.scale_ = torch.full((n, d), 2.0).double().numpy()
        self.coef_ = torch.randint(-2, 3, (n, stages, d), generator=generator).float().numpy()
        self.intercept_ = torch.randint(-1, 2, (n, stages), generator=generator).float().numpy()

    def decision_function(self, X, layer=None):
        import numpy as np

        own = [0] * len(X) if layer is None else [self.layers_.index(i) for i in layer]
        return np.stack([
            ((x - self.mean_[i]) / self.scale_[i]) @ self.coef_[i].T + self.intercept_[i]
            for x, i in zip(X, own, strict=True)
        ])  # fmt: skip


class Vandal:
    """Writes into everything it is given, and leaves nowhere."""

    name = "vandal"

    def __call__(self, peek):
        scores = peek.scores()
        again = peek.lens(peek.resid, peek.layer)
        for tensor in (scores, again, peek.resid, peek.before, peek.pos):
            if tensor is not None:
                tensor.fill_(7)
        for tensor in peek.memory.values():
            tensor.fill_(7)
        peek.memory["mine"] = torch.zeros(len(peek.resid))
        return torch.zeros(len(peek.resid), dtype=torch.bool)


def agreement_probe(layers: int, d: int = 4) -> AgreementProbe:
    """Weights in quarters: exact sums."""
    generator = torch.Generator().manual_seed(layers)
    weight = torch.randint(-3, 4, (layers - 1, d), generator=generator) / 4
    return AgreementProbe(weight, torch.zeros(layers - 1), torch.ones(layers - 1, d), layers)
