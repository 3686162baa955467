"""Sums by document of what lenses say beside the full model, in a stream.

A unit is a document, or, of more than `UNITS` documents, every `UNITS`-th one: memory does not grow with the
corpus, and whoever draws units again draws whole documents.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from satlens.lenses.agreement import MEASURES, FullOutput, agreement

UNITS = 128


@dataclass(eq=False)
class QualitySums:
    """Sums of every measure by method, layer and unit.

    Attributes:
        methods, layers: what is measured, and behind which layers.
        documents: numbers of the documents, ascending, if they are known before: each has then a unit
            of its own where there are no more than `UNITS`.
        units: how many there are.
        tokens: ``[unit]``. agreed: ``[method, layer, unit, measure]``.
        error: ``[method, layer, unit, d]`` squared errors of the final state; NaN for a method that
            gives no state, or states that are not finite.
        lost: ``[method, layer]`` tokens whose scores are not finite.
        final, squares: ``[unit, d]`` sums of y - reference and of its square, y the final state.
    """

    methods: tuple[str, ...]
    layers: tuple[int, ...]
    d: int
    documents: Int[ndarray, " doc"] | None = None
    tokens: Float[ndarray, " unit"] = field(init=False)
    agreed: Float[ndarray, "method layer unit measure"] = field(init=False)
    error: Float[ndarray, "method layer unit d"] = field(init=False)
    lost: Float[ndarray, "method layer"] = field(init=False)
    final: Float[ndarray, "unit d"] = field(init=False)
    squares: Float[ndarray, "unit d"] = field(init=False)
    units: int = field(init=False)
    reference: Float[Tensor, " d"] | None = None
    rounding: float = 0.0

    def __post_init__(self) -> None:
        self.units = UNITS if self.documents is None else min(UNITS, len(self.documents))
        grid = (len(self.methods), len(self.layers), self.units)
        self.tokens = np.zeros(self.units)
        self.agreed = np.zeros((*grid, len(MEASURES)))
        self.error = np.zeros((*grid, self.d))
        self.lost = np.zeros(grid[:2])
        self.final, self.squares = np.zeros((2, self.units, self.d))

    def count(self, doc: Int[Tensor, " token"], final: Float[Tensor, "token d"]) -> None:
        """The tokens of one batch, and their final states; once a batch, before `add`."""
        self.rounding = max(self.rounding, torch.finfo(final.dtype).eps)
        unit, final = self._unit(doc), final.cpu().double()
        if self.reference is None:  # of the size of the states, so that squares lose nothing to it
            self.reference = final.mean(0)
        centred = final - self.reference
        _into(self.tokens, unit, torch.ones(len(unit), dtype=torch.float64))
        _into(self.final, unit, centred)
        _into(self.squares, unit, centred**2)

    def add(
        self,
        method: str,
        layer: int,
        doc: Int[Tensor, " token"],
        scores: Float[Tensor, "token output"],
        full: FullOutput,
        error: Float[Tensor, "token d"] | None,
    ) -> None:
        """What one method says of some tokens behind one layer; ``error``: its final state minus y."""
        at, unit = (self.methods.index(method), self.layers.index(layer)), self._unit(doc)
        found = agreement(scores, full)
        self.lost[at] += int(found[:, -1].isnan().sum())
        _into(self.agreed[at], unit, found)
        if error is None:
            self.error[at] = np.nan
        else:
            squared = error.cpu().double() ** 2
            _into(self.error[at], unit, torch.where(squared.isfinite(), squared, torch.nan))

    def varies(self) -> Bool[ndarray, " d"]:
        """Whether each coordinate of y varies by more than its rounding over all tokens."""
        n, y, squares = (part.sum(0) for part in (self.tokens, self.final, self.squares))
        size = np.zeros(self.d) if self.reference is None else self.reference.abs().numpy()
        return squares - y**2 / max(n, 1) > n * (self.rounding * size) ** 2

    def _unit(self, doc: Int[Tensor, " token"]) -> Int[Tensor, " token"]:
        if self.documents is None:
            return doc.cpu() % self.units
        return torch.from_numpy(np.searchsorted(self.documents, doc.cpu().numpy())) % self.units


def _into(sums: ndarray, unit: Int[Tensor, " token"], values: Tensor) -> None:
    """Add the rows of ``values`` to the units they belong to."""
    total = torch.zeros(sums.shape, dtype=torch.float64)
    total.index_add_(0, unit, values)
    sums += total.numpy()
