"""Means of states by stage, over a stream: of the real states, and of states that came another way.

    difference[half, layer] = mean(h_l in stage i + 1) - mean(h_l in stage i)

Sums are kept in float64, ``2 * 2 * L * d`` numbers, whatever the corpus. The states of a path null
(`satlens.nulls.paths`) are in stages of their own, read from the saturation layers found in them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from satlens.errors import InputError
from satlens.lenses import Lens
from satlens.nulls.block import Block, generator_for, joined
from satlens.nulls.sampler import BLOCK_BYTES
from satlens.saturation.events import SaturationEvents
from satlens.saturation.method import Scan
from satlens.saturation.rows import Scores
from satlens.saturation.stages import stage_of


def groups(stage: Int[ndarray, "token layer"], i: int) -> Int[ndarray, "token layer"]:
    """0 for states in stage i, 1 for states in stage i + 1, -1 for all others.

    The output layer is left out: there every rank is fixed by definition.

    >>> groups(np.array([[1, 1, 2, 3, 3]]), 1).tolist()
    [[0, 0, 1, -1, -1]]
    """
    group = np.where(stage == i, 0, np.where(stage == i + 1, 1, -1)).astype(np.int8)
    group[:, -1] = -1
    return group


class StageSums:
    """Sums and counts of states by half of the documents, layer and stage (i, i + 1)."""

    def __init__(self, n_layers: int, d: int) -> None:
        self.total = np.zeros((2, n_layers, 2, d))
        self.count = np.zeros((2, n_layers, 2), np.int64)

    def add(
        self,
        resid: Float[Tensor, "layer token d"],
        group: Int[ndarray, "token layer"],
        half: Int[ndarray, " token"],
    ) -> None:
        """Take states, each in group 0, 1 or -1 (neither)."""
        cell = np.where(group >= 0, 2 * half[:, None] + group, -1)
        member = cell.T[:, None] == np.arange(4)[:, None]  # [layer, 4, token]
        chosen = torch.tensor(member, device=resid.device).float()
        sums = (chosen @ resid.float()).double().cpu().numpy()
        self.total += sums.reshape(-1, 2, 2, sums.shape[-1]).transpose(1, 0, 2, 3)
        self.count += member.sum(-1).reshape(-1, 2, 2).transpose(1, 0, 2)

    def difference(self) -> Float[ndarray, "half layer d"]:
        """Mean of stage i + 1 minus mean of stage i, NaN where one of them has no state."""
        with np.errstate(invalid="ignore"):
            mean = self.total / np.where(self.count, self.count, np.nan)[..., None]
        return mean[:, :, 1] - mean[:, :, 0]


class NullSums:
    """Sums of the states of path nulls, drawn from blocks of documents as the real states come by."""

    def __init__(
        self,
        lens: Lens | Scores,
        kinds: Sequence[str],
        stage: int,
        seed: int,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.scan, self.stage, self.seed, self.block_bytes = Scan(lens), stage, seed, block_bytes
        self.kinds, self.missing, self.sums = list(kinds), {}, {}
        self._waiting: list[tuple[Tensor, SaturationEvents, ndarray]] = []
        self._held: list[tuple[Tensor, SaturationEvents, ndarray]] = []
        self._blocks = 0

    def update(
        self,
        resid: Float[Tensor, "layer token d"],
        events: SaturationEvents,
        half: Int[ndarray, " token"],
    ) -> None:
        """Take real states (copied), their events, and the half of each token's document."""
        self._waiting.append((resid.detach().clone(), events, half))
        size = sum(4 * states.numel() for states, _, _ in self._waiting)
        docs = {int(doc) for _, part, _ in self._waiting for doc in part.doc}
        if size >= self.block_bytes and len(docs) > 1:
            # A block waits for the next one: what is left at the end may lack donors of its own.
            self._draw(self._held)
            self._held, self._waiting = self._waiting, []

    def finish(self) -> tuple[dict[str, StageSums], dict[str, str]]:
        """The sums by kind, and by kind why there are none."""
        self._draw(self._held + self._waiting)
        return {kind: self.sums[kind] for kind in self.kinds}, self.missing

    def _draw(self, parts: list[tuple[Tensor, SaturationEvents, ndarray]]) -> None:
        if not parts or not self.kinds:
            return
        resid, events = joined([(states, part) for states, part, _ in parts])
        half = np.concatenate([part for _, _, part in parts])
        block = Block.of(resid, events)
        if "exchanged" in self.kinds:
            try:
                block.check_donors()
            except InputError as error:  # the others can still be drawn
                self.missing["exchanged"] = str(error)
                self.kinds.remove("exchanged")
        for kind in self.kinds:
            states = block.states(kind, generator_for(kind, self.seed, self._blocks, resid.device))
            layer = block.layers(states, self.scan)
            group = groups(stage_of(layer, len(states)), self.stage)
            sums = self.sums.setdefault(kind, StageSums(len(states), states.shape[-1]))
            sums.add(states, group, half)
        self._blocks += 1
