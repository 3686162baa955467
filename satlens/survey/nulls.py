"""The path nulls of a shard: drawn for its first tokens, next to the events.

A row is a token of one draw: ``doc, pos, null, draw, layer_1 .. layer_k``, with ``null`` "real", "rotated" or
"exchanged". The rows of "real" are the events of the same tokens, so that the file stands alone.
"""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from satlens.errors import InputError
from satlens.lenses import LogitLens
from satlens.models import Batches, ResidualModel
from satlens.nulls import NullDraws, NullSampler
from satlens.nulls.block import PATH_NULLS
from satlens.saturation.events import SaturationEvents

REAL = "real"


def chosen(batches: Batches, tokens: int) -> dict[int, int]:
    """Of which documents, and of how many of their first positions, nulls are drawn.

    The first documents until there are ``tokens``, two at least: a path is exchanged with another
    document's. Of none more than ``tokens`` positions: a document may be a whole book.
    """
    lengths: dict[int, int] = {}
    for row in batches.rows:
        lengths[row.doc] = lengths.get(row.doc, 0) + int(row.real.sum())
    found: dict[int, int] = {}
    for doc, length in lengths.items():
        if sum(found.values()) >= tokens and len(found) >= 2:
            break
        found[doc] = min(length, tokens)
    return found


class ShardNulls:
    """Keeps the states of the chosen tokens of one shard, and draws from them at the end."""

    def __init__(self, model: ResidualModel, batches: Batches, tokens: int) -> None:
        self.model = model
        self.chosen = chosen(batches, tokens) if tokens else {}
        self._parts: list[tuple[Tensor, SaturationEvents]] = []

    def update(self, resid: Tensor, events: SaturationEvents) -> None:
        """Take what is wanted of one batch (copied)."""
        # A BOS in front is position 0 and does not count: up to `limit` positions, or one more without.
        limit = np.array([self.chosen.get(doc, -1) for doc in events.doc.tolist()])
        wanted = events.pos <= limit
        if wanted.any():
            kept = resid[:, torch.from_numpy(wanted).to(resid.device)]
            self._parts.append((kept.detach().clone(), events[wanted]))

    def draw(self, draws: int, seed: int) -> tuple[dict[str, NullDraws], str]:
        """The draws by kind, and what could not be drawn."""
        if not self._parts:
            return {}, ""
        try:
            return self._sample(PATH_NULLS, draws, seed), ""
        except InputError as error:  # nobody to exchange with
            return self._sample(PATH_NULLS[:1], draws, seed), f"{PATH_NULLS[1]} not drawn: {error}"

    def _sample(self, kinds: tuple[str, ...], draws: int, seed: int) -> dict[str, NullDraws]:
        sampler = NullSampler(LogitLens(self.model), kinds=kinds, draws=draws, seed=seed)
        for resid, events in self._parts:
            sampler.update(resid, events)
        return sampler.finish()


def nulls_table(nulls: dict[str, NullDraws], ids: np.ndarray) -> pa.Table:
    """The draws as a table; ``ids`` are the numbers of the documents in the corpus."""
    first = next(iter(nulls.values()))
    blocks = [(REAL, 0, first.events.layer)]
    blocks += [(kind, i, one.layer[i]) for kind, one in nulls.items() for i in range(len(one))]
    n, k = first.events.layer.shape
    small = pa.uint8() if first.events.n_layers <= 256 else pa.int16()
    layer = np.concatenate([block for _, _, block in blocks])
    columns = {
        "doc": pa.array(np.tile(ids[first.events.doc], len(blocks)), pa.int64()),
        "pos": pa.array(np.tile(first.events.pos, len(blocks)), pa.int32()),
        "null": pa.array(np.repeat([name for name, _, _ in blocks], n), pa.string()),
        "draw": pa.array(np.repeat([draw for _, draw, _ in blocks], n), pa.int16()),
    }
    columns |= {f"layer_{i + 1}": pa.array(layer[:, i], small) for i in range(k)}
    return pa.table(columns)
