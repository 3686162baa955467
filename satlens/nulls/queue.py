"""Batches of states -> blocks large enough to draw from.

A block holds about ``block_bytes`` of states and two documents or more, so that tokens find donors in other
documents. Each block waits for the next one: what is left at the end is joined to the last.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.nulls.block import joined
from satlens.saturation.events import SaturationEvents

BLOCK_BYTES = 2**25
"""States of about this size (float32) are kept and turned into nulls at a time."""


class Part(NamedTuple):
    """The states of some tokens, the events found in them, and what else goes with each token."""

    resid: Float[Tensor, "layer token d"]
    events: SaturationEvents
    extra: Float[Tensor, "token f"] | None = None


class BlockQueue:
    """Takes batches, gives blocks. ``push`` what comes, then take the ``rest``; both give 0 or 1 blocks."""

    def __init__(self, block_bytes: int = BLOCK_BYTES) -> None:
        self.block_bytes = block_bytes
        self._waiting: list[Part] = []
        self._held: Part | None = None

    @property
    def tokens(self) -> int:
        """How many tokens' states are kept now."""
        held = 0 if self._held is None else len(self._held.events)
        return held + sum(len(part.events) for part in self._waiting)

    def push(
        self,
        resid: Float[Tensor, "layer token d"],
        events: SaturationEvents,
        extra: Float[Tensor, "token f"] | None = None,
    ) -> Iterator[Part]:
        """Take one batch (its states are copied: a host may use its buffers again)."""
        self._waiting.append(Part(resid.detach().clone(), events, extra))
        size = sum(4 * part.resid.numel() for part in self._waiting)
        docs = {int(doc) for part in self._waiting for doc in part.events.doc}
        if size >= self.block_bytes and len(docs) > 1:
            ready, self._held = self._held, _one(self._waiting)
            self._waiting = []
            if ready is not None:
                yield ready

    def rest(self) -> Iterator[Part]:
        """The last block."""
        parts = ([] if self._held is None else [self._held]) + self._waiting
        self._held, self._waiting = None, []
        if parts:
            yield _one(parts)


def _one(parts: Sequence[Part]) -> Part:
    """One block from batches, in order."""
    extras = [part.extra for part in parts]
    resid, events = joined([(part.resid, part.events) for part in parts])
    return Part(resid, events, None if extras[0] is None else torch.cat(cast(list[Tensor], extras)))
