"""Nulls of a whole corpus: states are kept for a block of documents only.

`NullSampler` takes states batch by batch, next to whatever else is done with them, so that one pass over
a corpus is enough; `draw_nulls` is that pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses import Lens, LogitLens
from satlens.models import wrap
from satlens.nulls.block import KINDS, Block, generator_for
from satlens.nulls.draws import NULL_DRAWS, NullDraws
from satlens.nulls.queue import BLOCK_BYTES, BlockQueue, Part
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.method import Scan
from satlens.saturation.rows import Scores


def draw_nulls(
    model: Any,
    inputs: Any,
    *,
    kinds: Sequence[str] = KINDS,
    draws: int = NULL_DRAWS,
    k: int = DEFAULT_K,
    lens: Lens | None = None,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    max_tokens: int | None = None,
    progress: bool = False,
) -> dict[str, NullDraws]:
    """What the saturation layers of these inputs would be, had the states come another way.

    Args:
        model, inputs, k, lens, batch_size, progress: as in `satlens.detect`.
        kinds: some of "rotated", "exchanged", "walk", "line" (see `satlens.nulls.paths`).
        draws: saturation layers per token and kind.
        max_tokens: read the first documents only, up to this many tokens; None for all.

    Returns:
        By kind, the draws, with the real events of the same tokens. Draws depend on ``batch_size``
        only through which documents lie in one block (donors of "exchanged" come from it).

    Raises:
        InputError: unusable settings or inputs; or "exchanged" and a token without any other
            document that ends in another token.

    Example:
        >>> import satlens
        >>> stories = ["Lily had a red ball.", "The dog ran to the park."]
        >>> nulls = draw_nulls(satlens.load_model("tiny"), stories, draws=2)
        >>> sorted(nulls), len(nulls["rotated"])
        (['exchanged', 'line', 'rotated', 'walk'], 2)
    """
    model = wrap(model)
    lens = lens or LogitLens(model)
    sampler = NullSampler(lens, kinds=kinds, draws=draws, seed=seed, progress=progress)
    batches = model.batches(inputs, batch_size)
    if max_tokens is not None:
        batches = batches.first(max_tokens)
    for states, events in stream(model, batches, k=k, lens=lens, progress=progress):
        sampler.update(states.resid, events)
    return sampler.finish()


class NullSampler:
    """Draws nulls from real states that come batch by batch; `finish` gives them.

    Args:
        lens: the one that detected the events, or a function ``scores(resid, layer)``.
        kinds, draws, seed, progress: as in `draw_nulls`.
        block_bytes: states kept at a time.

    Example, beside any other use of the same pass::

        sampler = NullSampler(LogitLens(model))
        for states, events in stream(model, texts):
            sampler.update(states.resid, events)
        nulls = sampler.finish()
    """

    def __init__(
        self,
        lens: Lens | Scores,
        *,
        kinds: Sequence[str] = KINDS,
        draws: int = NULL_DRAWS,
        seed: int = DEFAULT_SEED,
        block_bytes: int = BLOCK_BYTES,
        progress: bool = False,
    ) -> None:
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown or not kinds:
            raise InputError(
                f"Nulls to draw must be some of {', '.join(KINDS)}; got {', '.join(kinds) or 'none'}."
            )
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}.")
        self.scan, self.kinds, self.draws, self.seed = Scan(lens), tuple(kinds), draws, seed
        self.queue, self.progress = BlockQueue(block_bytes), progress
        self._events: list[SaturationEvents] = []
        self._layers: dict[str, list[ndarray]] = {kind: [] for kind in self.kinds}

    def update(self, resid: Float[Tensor, "layer token d"], events: SaturationEvents) -> None:
        """Take the real states of one batch (copied), and the events found in them."""
        for block in self.queue.push(resid, events):
            self._draw(block)

    def finish(self) -> dict[str, NullDraws]:
        """The draws of everything taken, in order of document and position, by kind."""
        for block in self.queue.rest():
            self._draw(block)
        if not self._events:
            raise InputError("No tokens to draw nulls for: the inputs gave no real position.")
        events = SaturationEvents.concat(self._events)
        order = np.lexsort((events.pos, events.doc))
        settings = {"draws": self.draws, "seed": self.seed}
        return {
            kind: NullDraws(kind, np.concatenate(parts, axis=1)[:, order], events[order], settings)
            for kind, parts in self._layers.items()
        }

    @torch.no_grad()
    def _draw(self, part: Part) -> None:
        resid, events, _ = part
        block = Block.of(resid, events)
        if "exchanged" in self.kinds:
            block.check_donors()
        bar = tqdm(
            total=len(self.kinds) * self.draws, desc=f"nulls, {len(events):,} tokens", unit=" draws",
            disable=not self.progress,
        )  # fmt: skip
        for kind in self.kinds:
            generator = generator_for(kind, self.seed, len(self._events), resid.device)
            drawn = []
            for _ in range(self.draws):
                drawn.append(block.layers(block.states(kind, generator), self.scan))
                bar.update()
            self._layers[kind].append(np.stack(drawn))
        bar.close()
        self._events.append(events)


class EachNull:
    """Several kinds, each by itself: one that cannot be drawn is left out, and ``missing`` says why.

    Nobody to exchange with, say: the other kinds can still be drawn. Draws are those of one `NullSampler`.

    Args:
        lens, draws, seed: as in `NullSampler`. kinds: any, or none.

    Attributes:
        missing: by kind, why it could not be drawn.
    """

    def __init__(
        self, lens: Lens | Scores, *, kinds: Sequence[str], draws: int, seed: int = DEFAULT_SEED
    ) -> None:
        self.samplers = {
            kind: NullSampler(lens, kinds=(kind,), draws=draws, seed=seed) for kind in kinds
        }
        self.missing: dict[str, str] = {}

    def update(self, resid: Float[Tensor, "layer token d"], events: SaturationEvents) -> None:
        """Take the real states of one batch (copied), and the events found in them."""
        self._each(lambda sampler: sampler.update(resid, events))

    def finish(self) -> dict[str, NullDraws]:
        """The draws by kind, of those that could be drawn."""
        found: dict[str, NullDraws] = {}
        self._each(lambda sampler: found.update(sampler.finish()))
        return found

    def _each(self, act: Callable[[NullSampler], None]) -> None:
        for kind in list(self.samplers):
            try:
                act(self.samplers[kind])
            except InputError as error:
                self.missing[kind] = str(error)
                del self.samplers[kind]
