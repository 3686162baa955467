"""The next token from a state that left: the best by exact scores, or one drawn.

    greedy:    the first of the ranking z = W x + b at x = features(h_l, l), equal scores the lower id first
    drawn:     p = softmax(z / T) over the top k, then over the fewest whose p sum to top_p; the token at
               which the sum of p in order of id passes u

A lens that ends in a linear map is ranked without its scores in float (`satlens.saturation.certified`): the
vocabulary is read in low precision, and the few outputs that could be first are summed exactly. ``u`` is
uniform, from a generator of each prompt's own, one number a token, so what a prompt draws does not depend on
the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.errors import InputError, NumericsError
from satlens.lenses.base import Lens, LinearLens
from satlens.saturation.method import Scan
from satlens.saturation.ranking import top_ids
from satlens.saturation.rows import LinearRows


@dataclass(frozen=True, eq=False)
class Exits:
    """States that answer, and the layers they left after.

    Attributes:
        groups: ``(layer, places among the rows)``; None for all of them.
    """

    resid: Float[Tensor, "row d"]
    layer: Int[Tensor, " row"]
    groups: tuple[tuple[int, Tensor | None], ...]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the names are those of transformers."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature must be above 0, got {self.temperature!r}.")
        whole = isinstance(self.top_k, int) and not isinstance(self.top_k, bool)
        if self.top_k is not None and not (whole and self.top_k >= 1):
            raise InputError(f"top_k must be a whole number, 1 or more, got {self.top_k!r}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {self.top_p!r}.")

    def probabilities(self, scores: Float[Tensor, "row token"]) -> Float[Tensor, "row token"]:
        """What tokens are drawn with, float64; 0 for those left out."""
        z = scores.double() / self.temperature
        bad = int((~z.amax(1).isfinite()).sum())
        if bad:
            raise NumericsError(
                f"NaN scores for {bad} of {len(z)} positions: nothing can be drawn from them. The weights "
                "or the inputs hold NaN or overflow in this precision."
            )
        if self.top_k is not None and self.top_k < z.shape[1]:
            kept = top_ids(z, self.top_k)
            z = torch.full_like(z, -torch.inf).scatter_(1, kept, z.gather(1, kept))
        p = z.softmax(1)
        if self.top_p is not None and self.top_p < 1:
            ordered, ids = p.sort(dim=1, descending=True, stable=True)
            before = ordered.cumsum(1) - ordered
            p = torch.zeros_like(p).scatter_(1, ids, ordered * (before < self.top_p))
            p /= p.sum(1, keepdim=True)
        return p

    def draw(
        self, scores: Float[Tensor, "row token"], generators: Sequence[torch.Generator]
    ) -> Int[Tensor, " row"]:
        """One token a row, with a number of each row's own generator."""
        p = self.probabilities(scores)
        uniform = [torch.rand(1, generator=own, dtype=torch.float64) for own in generators]
        total = p.cumsum(1)
        u = torch.cat(uniform).to(p.device)[:, None] * total[:, -1:]
        # The first id whose sum is above u: never one of probability 0, as its sum is that of the id before.
        return torch.searchsorted(total, u, right=True)[:, 0].clamp(max=p.shape[1] - 1)


def generators(seed: int | Sequence[int], prompts: int) -> list[torch.Generator]:
    """A generator a prompt.

    Args:
        seed: of all, or one for each prompt, which then draws as it would alone with that seed.

    Raises:
        InputError: no whole numbers, negative ones, or another number of them than of prompts.
    """
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        seeds = [(own, 0) for own in seed]
    else:
        seeds = [(seed, i) for i in range(prompts)]
    whole = all(
        isinstance(own, int | np.integer) and not isinstance(own, bool) and own >= 0
        for own, _ in seeds
    )
    if not whole or len(seeds) != prompts:
        raise InputError(
            f"seed must be a whole number, 0 or more, or one for each of the {prompts} prompts; got {seed!r}."
        )
    made = []
    for own in seeds:
        # Hashed: neighbouring seeds must not share streams between their prompts.
        (word,) = np.random.SeedSequence(own).generate_state(1, np.uint64)
        made.append(torch.Generator().manual_seed(int(word) & (2**63 - 1)))
    return made


class Answers:
    """The next token of rows that left.

    Args:
        lens: a lens, or a function ``scores(resid, layer)``.
        method: how greedy tokens are found, as in `satlens.detect`; the tokens are the same.
        sampling: how tokens are drawn; None for the best one.
    """

    def __init__(self, lens: Lens | Any, method: str, sampling: Sampling | None) -> None:
        self.scan, self.sampling = Scan(lens, method, few=True), sampling
        self.lens = self.scan.lens
        self.features = self.lens.features if isinstance(self.lens, LinearLens) else None

    def greedy(self, left: Exits) -> Int[Tensor, " row"]:
        """The token before all others."""
        if self.scan.static is None or self.features is None:
            return top_ids(self._by_group(left, self.lens.scores), 1)[:, 0]
        x = self._by_group(left, self.features)
        rows = LinearRows(x[None], self.scan.static.bounds)
        if self.scan.kind == "float32":  # one product and its largest number: nothing to screen
            return rows.top(0, 1)[:, 0]
        return self.scan.ranking(rows, 1)[0][:, 0]

    def __call__(self, left: Exits, generators: Sequence[torch.Generator]) -> Int[Tensor, " row"]:
        """The best token, or a drawn one; one generator a row."""
        if self.sampling is None:
            return self.greedy(left)
        return self.sampling.draw(self._by_group(left, self.lens.scores), generators)

    def _by_group(self, left: Exits, read: Any) -> Float[Tensor, "row n"]:
        """What the lens reads at each state, at the layer it left after."""
        if len(left.groups) == 1:
            return read(left.resid, left.groups[0][0])
        parts = [read(left.resid[rows], layer) for layer, rows in left.groups]
        order = torch.cat([cast(Tensor, rows) for _, rows in left.groups])
        return torch.cat(parts)[torch.argsort(order)]
