"""Random heads and states for the scans, with everything that makes rankings hard."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from satlens.models.readout import Head
from satlens.saturation.exact import Bounds
from satlens.saturation.rows import LinearRows
from tests.saturation.exactly import exact_layers

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
MODES = ["plain", "coarse", "repeated", "grid", "repeated grid", "outlier"]


@dataclass(frozen=True)
class Problem:
    """Features ``x [layer, token, d]`` and a head, with the layers and the ranking by exact arithmetic."""

    x: torch.Tensor
    head: Head
    k: int

    def rows(self) -> LinearRows:
        return LinearRows(self.x, Bounds.of(self.head))

    def answer(self):
        return exact_layers(self.x, self.head.weight, self.head.bias, self.k)


def weights(mode: str, outputs: int, d: int, generator: torch.Generator) -> torch.Tensor:
    """Coarse and repeated rows tie exactly; a grid ties but for rounding; outliers spoil eight bits."""
    weight = torch.randn(outputs, d, generator=generator)
    if "repeated" in mode:
        weight = weight[torch.randint(max(outputs // 2, 1), (outputs,), generator=generator)]
    if "grid" in mode:
        weight = weight.round(decimals=1)
    if mode == "coarse":
        weight = weight.round()
    if mode == "outlier":
        weight[:, 0] += 30
    return weight


@st.composite
def problems(draw, dtypes=DTYPES, max_k=8):
    generator = torch.manual_seed(draw(st.integers(0, 2**32)))
    mode, dtype = draw(st.sampled_from(MODES)), draw(st.sampled_from(dtypes))
    n_layers, n_tokens, d = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 10)),
        draw(st.integers(1, 20)),
    )
    outputs = draw(st.integers(2, 40) | st.integers(41, 200))
    weight = weights(mode, outputs, d, generator)
    steps = torch.randn(n_layers, n_tokens, d, generator=generator)
    # Layers in which nothing happens make long unbroken tails; small steps make near ties.
    steps *= torch.rand(n_layers, n_tokens, 1, generator=generator) < draw(st.floats(0.1, 1))
    steps *= draw(st.sampled_from([1.0, 0.05, 1e-3]))
    steps = steps.round() if mode == "coarse" else steps
    bias = None
    if draw(st.integers(0, 2)) == 0:
        bias = torch.randn(outputs, generator=generator) * draw(st.sampled_from([1.0, 10.0]))
        bias = (bias.round() if mode in ("coarse", "repeated") else bias).to(dtype)
    weight = weight.to(dtype)
    if draw(st.booleans()):  # as TransformerLens keeps it
        weight = weight.T.contiguous().T
    k = draw(st.integers(1, min(outputs, max_k)))
    return Problem(steps.cumsum(0).to(dtype), Head(weight, bias), k)
