"""Some states of every stage at every layer, from a stream of any length.

Each state has a key that is a random function of (seed, document, position, layer) alone. A cell (layer,
stage) keeps its ``per_cell`` states with the lowest keys: a uniform sample of the cell without
replacement, whatever the order or the size of the batches. Memory: ``cells * per_cell * d`` numbers.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from numpy import ndarray
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.probes.stages import Policy, StageCounts, stage_labels
from satlens.probes.states import StageStates
from satlens.saturation.events import SaturationEvents

PER_CELL = 400
"""States kept of each stage at each layer, when nothing else is said."""


@dataclass
class Cell:
    """The states of one stage at one layer: ``[:filled]`` of every column is in use."""

    state: Float[ndarray, "room d"]
    features: Float[ndarray, "room f"]
    key: UInt64[ndarray, " room"]
    token: Int[ndarray, "4 room"]  # doc, pos, input, top1
    filled: int = 0

    @staticmethod
    def of(room: int, d: int, f: int) -> "Cell":
        """An empty cell; its pages cost nothing before they are written."""
        return Cell(
            np.empty((room, d), np.float32), np.empty((room, f), np.float32),
            np.empty(room, np.uint64), np.empty((4, room), np.int64),
        )  # fmt: skip

    def places(self, key: UInt64[ndarray, " new"]) -> tuple[ndarray, ndarray]:
        """Which of these newcomers stay, and the places they take (those of the highest keys)."""
        room = len(self.key)
        every = np.concatenate([self.key[: self.filled], key])
        room_left = len(every) <= room
        kept = np.arange(len(every)) if room_left else np.argpartition(every, room - 1)[:room]
        newcomers = np.sort(kept[kept >= self.filled]) - self.filled
        free = np.ones(room, dtype=bool)
        free[kept[kept < self.filled]] = False
        return newcomers, np.flatnonzero(free)[: len(newcomers)]


class StageSampler:
    """Takes residual states batch by batch and keeps some of every stage at every layer.

    Args:
        per_cell: states kept of each (layer, stage).
        seed: of the choice.
        policy: the choices of `satlens.probes.stage_labels`, by name.

    Example, beside any other use of the same pass::

        sampler = StageSampler(per_cell=400)
        for states, events in stream(model, texts):
            sampler.update(states.resid, events, final_features(states.logits, events.k))
        data = sampler.finish().balanced()
    """

    def __init__(
        self, per_cell: int = PER_CELL, *, seed: int = DEFAULT_SEED, **policy: str
    ) -> None:
        if per_cell < 1:
            raise InputError(f"per_cell must be at least 1, got {per_cell}.")
        self.per_cell, self.seed = per_cell, seed
        self.policy = Policy(**policy).to_dict()
        self._cells: dict[tuple[int, int], Cell] = {}
        self._counts: StageCounts | None = None
        self._widths: tuple[int, int] = (-1, -1)

    def update(
        self,
        resid: Float[Tensor, "layer token d"] | Float[ndarray, "layer token d"],
        events: SaturationEvents,
        features: Float[Tensor, "token f"] | Float[ndarray, "token f"] | None = None,
    ) -> None:
        """Take the states of some tokens (each token once) and the events found in them.

        Raises:
            InputError: states, events and features that are not of the same tokens and layers, or
                of another width than those before.
        """
        if features is None:
            features = np.zeros((len(events), 0), np.float32)
        self._check(resid, events, features)
        labels = stage_labels(events, **self.policy)
        self._counts = labels.counts if self._counts is None else self._counts + labels.counts
        token = np.stack([events.doc, events.pos, events.input, events.token[:, 0]])
        for layer in range(events.n_layers - 1):
            key = state_keys(self.seed, events.doc, events.pos, layer)
            for stage in range(1, events.k + 1):
                rows = np.flatnonzero(labels.label[:, layer] == stage)
                if len(rows):
                    self._take(layer, stage, rows, key[rows], resid[layer], features, token)

    def _take(
        self, layer: int, stage: int, rows: Int[ndarray, " new"], key: UInt64[ndarray, " new"],
        resid: Any, features: Any, token: Int[ndarray, "4 token"],
    ) -> None:  # fmt: skip
        if (layer, stage) not in self._cells:
            self._cells[layer, stage] = Cell.of(self.per_cell, *self._widths)
        cell = self._cells[layer, stage]
        new, place = cell.places(key)
        if len(new) == 0:
            return
        rows = rows[new]
        cell.state[place] = _numpy(resid, rows)
        cell.features[place] = _numpy(features, rows)
        cell.key[place] = key[new]
        cell.token[:, place] = token[:, rows]
        cell.filled = max(cell.filled, int(place.max()) + 1)

    def _check(self, resid: Any, events: SaturationEvents, features: Any) -> None:
        n, n_layers = len(events), events.n_layers
        if resid.ndim != 3 or tuple(resid.shape[:2]) != (n_layers, n) or len(features) != n:
            raise InputError(
                f"Wanted states [layer, token, d] and features [token, f] of the {n} tokens and "
                f"{n_layers} layers of the events; got {tuple(resid.shape)} and "
                f"{tuple(features.shape)}."
            )
        widths = (resid.shape[2], features.shape[1])
        if self._counts is not None and self._widths != widths:
            raise InputError(
                f"The states and features before were {self._widths} wide, these are {widths}: one "
                "sampler takes the states of one model."
            )
        self._widths = widths

    def finish(self) -> StageStates:
        """The states kept, by layer, stage and key; the sampler is empty afterwards.

        Raises:
            InputError: there was no state with a stage.
        """
        cells = dict(sorted(self._cells.items()))
        if not cells:
            tokens = 0 if self._counts is None else self._counts.tokens
            raise InputError(
                f"No state has a stage: {tokens} tokens were read. Give more text, or other choices "
                "for out_of_order, ties and censored."
            )
        self._cells = {}
        # Cell by cell into place, each freed at once: there is never a second copy of the whole.
        ends = np.cumsum([cell.filled for cell in cells.values()])
        n, (d, f) = int(ends[-1]), self._widths
        state, features = np.empty((n, d), np.float32), np.empty((n, f), np.float32)
        stage, where = np.empty(n, np.int8), np.empty(n, np.int16)
        key, token = np.empty(n, np.uint64), np.empty((4, n), np.int64)
        for (layer, i), end in zip(list(cells), ends.tolist(), strict=True):
            cell = cells.pop((layer, i))
            order = np.argsort(cell.key[: cell.filled])
            rows = slice(end - cell.filled, end)
            state[rows], features[rows] = cell.state[order], cell.features[order]
            key[rows], token[:, rows] = cell.key[order], cell.token[:, order]
            stage[rows], where[rows] = i, layer
        counts, self._counts = cast(StageCounts, self._counts), None
        doc, pos, read, top1 = token
        return StageStates(state, stage, where, doc, pos, read, top1, features, key, counts)


def state_keys(
    seed: int, doc: Int[ndarray, " token"], pos: Int[ndarray, " token"], layer: int
) -> UInt64[ndarray, " token"]:
    """Random numbers that are a function of (seed, document, position, layer) alone.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), applied once for each part.
    """
    # The seed is mixed on its own first: beside small document numbers it would only swap documents.
    key = _mix(np.full(len(doc), seed % 2**64, np.uint64))
    for part in (doc, pos, np.full(len(doc), layer)):
        key = _mix(key ^ part.astype(np.int64).view(np.uint64))
    return key


def _mix(x: UInt64[ndarray, " n"]) -> UInt64[ndarray, " n"]:
    x = x + np.uint64(0x9E3779B97F4A7C15)  # wraps, as it should
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _numpy(values: Any, rows: ndarray) -> ndarray:
    """Some rows as a float32 array; only they leave the device."""
    if isinstance(values, Tensor):
        index = torch.from_numpy(rows).to(values.device)
        return values.detach()[index].float().cpu().numpy()
    return np.asarray(values)[rows]
