"""Small stacks whose stages are known because they were put there.

In a basis that a random rotation hides, a state holds scores z of every output, and a flag f. At its own time
a token's flag goes up, and then by as much again at every layer. Before, all ranks of z change at every layer
(stage 1); once it is up, rank 1 stays what it will be (stage 2); two layers later rank 2 stays as well (stage
3); the other ranks change until the end. Blocks only add, the readout is linear.

    reads_flag      block l looks at the flag: whoever raises it starts stage 2
    else            block l looks at the token's own time only: the flag is written and never read
"""

import math
from functools import partial

import torch
from torch import nn

from satlens.models.inputs.text import token_batches
from satlens.models.protocol import ResidualModel

OUTPUTS, LAYERS, WORDS = 24, 10, 300
FLAG = 8.0


class Block(nn.Module):
    """Adds what is missing to the scores and the flag that this layer wants."""

    def __init__(self, layer: int, reads_flag: bool, basis: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.reads_flag = layer, reads_flag
        self.register_buffer("basis", basis)

    def forward(self, resid: torch.Tensor, onset: torch.Tensor, order: torch.Tensor):
        z, flag = (resid @ self.basis.T).split([OUTPUTS, 1], dim=-1)
        age = torch.where(onset <= self.layer, self.layer - onset + 1.0, 0.0)  # in flags
        if self.reads_flag:
            seen = flag[..., 0] / FLAG
            age = torch.where((age > 0) | (seen > 0.5), seen.clamp(min=0) + 1, 0.0)
        place = torch.arange(OUTPUTS).expand_as(order)
        rank = place
        if self.layer < LAYERS - 1:
            stay = torch.where(age > 2.5, 2, torch.where(age > 0, 1, 0))[..., None]
            # The ranks that do not stay go round by one more place at every layer.
            turned = (place - stay + self.layer + 1) % (OUTPUTS - stay) + stay
            rank = torch.where(place < stay, place, turned)
        wanted = torch.zeros_like(z).scatter(-1, order, torch.linspace(1, -1, OUTPUTS)[rank])
        up = FLAG * age[..., None]
        missing = torch.cat([wanted - z, up - flag], dim=-1)
        return missing @ self.basis


class Stack(nn.Module):
    """Embedding (times and rankings), blocks, and a point to hook behind each."""

    def __init__(self, reads_flag: bool, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        d = OUTPUTS + 1
        basis = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
        self.onset = torch.randint(2, LAYERS - 1, (WORDS,), generator=generator)
        self.order = torch.rand(WORDS, OUTPUTS, generator=generator).argsort(1)
        self.blocks = nn.ModuleList(Block(i, reads_flag, basis) for i in range(LAYERS))
        self.points = nn.ModuleList(nn.Identity() for _ in range(LAYERS))
        self.basis = nn.Parameter(basis, requires_grad=False)

    @property
    def flag(self) -> torch.Tensor:
        """The known direction of stage 2."""
        return self.basis[-1]

    def readout(self, resid: torch.Tensor) -> torch.Tensor:
        return resid @ self.basis[:OUTPUTS].T

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        onset, order = self.onset[ids], self.order[ids]
        resid = torch.zeros(*ids.shape, OUTPUTS + 1)
        for block, point in zip(self.blocks, self.points, strict=True):
            resid = point(resid + block(resid, onset, order))
        return self.readout(resid)


def toy(reads_flag: bool = True, seed: int = 0) -> ResidualModel:
    """The stack as a `ResidualModel`."""
    host = Stack(reads_flag, seed).eval()
    return ResidualModel(
        host=host, name="toy", hook_points=tuple(host.points), readout=host.readout,
        forward=lambda batch: host(batch.args["input_ids"]),
        batches=partial(token_batches, vocabulary=WORDS), d_model=OUTPUTS + 1, n_outputs=OUTPUTS,
        causal=True,
    )  # fmt: skip


def documents(n: int = 12, length: int = 40, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(WORDS, (length,), generator=generator).tolist() for _ in range(n)]


def cosine(a, b) -> float:
    a, b = (torch.as_tensor(x).double().flatten() for x in (a, b))
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))
