"""Null models: saturation layers of the same tokens, with everything but the order's cause kept.

    permuted    each token's k layers, shuffled among its ranks                    (events -> events)
    rotated, exchanged, walk, line     other ways into the same final state        (states -> events)

The last four are made by `satlens.order.paths` and then go through the same lens, scan and final
ranking as the real states. States are kept for a block of documents only: `NullSampler` takes them
batch by batch, next to whatever else is done with them, so that one pass over a corpus is enough.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Generator, Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses import Lens, LogitLens
from satlens.models import wrap
from satlens.order import paths
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.scan import backward_scan

PATH_NULLS = ("rotated", "exchanged")
"""The two that keep each token's distances to its end: the verdict is taken against the stricter."""
KINDS = (*PATH_NULLS, "walk", "line")
NULL_DRAWS = 20
BLOCK_BYTES = 2**25
"""States of about this size (float32) are kept and turned into nulls at a time."""


@dataclass(frozen=True, eq=False)
class NullDraws:
    """Saturation layers of the same tokens under one null, draw by draw.

    Attributes:
        kind: "permuted", "rotated", "exchanged", "walk", "line" or "untrained".
        layer: ``[draw, token, k]`` saturation layers, read-only.
        events: the real events of the same tokens, in the same order.
        settings: what made the draws.
    """

    kind: str
    layer: Int[ndarray, "draw token k"]
    events: SaturationEvents
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layer = np.array(self.layer, dtype=np.int16)
        if layer.ndim != 3 or layer.shape[1:] != self.events.layer.shape or len(layer) == 0:
            raise InputError(
                f"NullDraws of {self.kind!r} wants layers [draw, token, k] of the tokens in events, "
                f"{self.events.layer.shape}; got {layer.shape}."
            )
        layer.flags.writeable = False
        object.__setattr__(self, "layer", layer)

    def __len__(self) -> int:
        return len(self.layer)

    def draw(self, index: int) -> SaturationEvents:
        """One draw as events: the real tokens, with the null's saturation layers."""
        real = self.events
        return SaturationEvents(
            layer=self.layer[index], token=real.token, doc=real.doc, pos=real.pos,
            n_layers=real.n_layers, input=real.input,
            settings={**real.settings, "null": self.kind, "draw": index, **self.settings},
        )  # fmt: skip


def permute_ranks(events: SaturationEvents, seed: int = DEFAULT_SEED) -> SaturationEvents:
    """The same tokens, each with its k saturation layers shuffled among its ranks.

    Example:
        >>> events = SaturationEvents([[0, 1, 2]], [[7, 5, 6]], doc=[0], pos=[0], n_layers=4)
        >>> sorted(permute_ranks(events).layer[0].tolist())
        [0, 1, 2]
    """
    return permuted_draws(events, draws=1, seed=seed).draw(0)


def permuted_draws(
    events: SaturationEvents, *, draws: int = NULL_DRAWS, seed: int = DEFAULT_SEED
) -> NullDraws:
    """Several draws of `permute_ranks`."""
    rng = np.random.default_rng(seed)
    layer = np.stack([rng.permuted(events.layer, axis=1) for _ in range(draws)])
    return NullDraws("permuted", layer, events, {"draws": draws, "seed": seed})


def untrained_draws(events: SaturationEvents, others: Sequence[SaturationEvents]) -> NullDraws:
    """Events of models of the same shape with fresh weights on the same inputs, one draw a model.

    Raises:
        InputError: the events are not of the same tokens, ranks and layers.
    """
    for other in others:
        same = other.layer.shape == events.layer.shape and other.n_layers == events.n_layers
        if not (same and (other.doc == events.doc).all() and (other.pos == events.pos).all()):
            raise InputError(
                "The untrained events must be of the same tokens as the trained ones; got "
                f"{other!r} beside {events!r}. Detect both on the same inputs with the same k."
            )
    layer = np.stack([other.layer for other in others])
    return NullDraws("untrained", layer, events, {"draws": len(others)})


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
        kinds: some of "rotated", "exchanged", "walk", "line" (see `satlens.order.paths`).
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
    sampler = NullSampler(lens.scores, kinds=kinds, draws=draws, seed=seed, progress=progress)
    batches = model.batches(inputs, batch_size)
    if max_tokens is not None:
        batches = batches.first(max_tokens)
    for states, events in stream(model, batches, k=k, lens=lens, progress=progress):
        sampler.update(states.resid, events)
    return sampler.finish()


class NullSampler:
    """Draws nulls from real states that come batch by batch; `finish` gives them.

    Example, beside any other use of the same pass::

        sampler = NullSampler(LogitLens(model).scores)
        for states, events in stream(model, texts):
            sampler.update(states.resid, events)
        nulls = sampler.finish()
    """

    def __init__(
        self,
        scores: Callable[[Tensor, int], Tensor],
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
        self.scores, self.kinds, self.draws, self.seed = scores, tuple(kinds), draws, seed
        self.block_bytes, self.progress = block_bytes, progress
        self._waiting: list[tuple[Tensor, SaturationEvents]] = []
        self._held: tuple[Tensor, SaturationEvents] | None = None
        self._events: list[SaturationEvents] = []
        self._layers: dict[str, list[ndarray]] = {kind: [] for kind in self.kinds}

    def update(self, resid: Float[Tensor, "layer token d"], events: SaturationEvents) -> None:
        """Take the real states of one batch (copied), and the events found in them."""
        self._waiting.append((resid.detach().clone(), events))
        size = sum(4 * states.numel() for states, _ in self._waiting)
        docs = {int(doc) for _, part in self._waiting for doc in part.doc}
        if size >= self.block_bytes and len(docs) > 1:
            # A block waits for the next one: what is left at the end may lack donors of its own.
            self._draw_held()
            self._held, self._waiting = _joined(self._waiting), []

    def finish(self) -> dict[str, NullDraws]:
        """The draws of everything taken, in order of document and position, by kind."""
        rest = ([self._held] if self._held else []) + self._waiting
        if not rest and not self._events:
            raise InputError("No tokens to draw nulls for: the inputs gave no real position.")
        if rest:
            self._held, self._waiting = _joined(rest), []
            self._draw_held()
        events = SaturationEvents.concat(self._events)
        order = np.lexsort((events.pos, events.doc))
        settings = {"draws": self.draws, "seed": self.seed}
        return {
            kind: NullDraws(kind, np.concatenate(parts, axis=1)[:, order], events[order], settings)
            for kind, parts in self._layers.items()
        }

    @torch.no_grad()
    def _draw_held(self) -> None:
        if self._held is None:
            return
        resid, events = self._held
        self._held = None
        block = _Block.of(resid, events)
        if "exchanged" in self.kinds:
            block.check_donors()
        bar = tqdm(
            total=len(self.kinds) * self.draws, desc=f"nulls, {len(events):,} tokens", unit=" draws",
            disable=not self.progress,
        )  # fmt: skip
        for kind in self.kinds:
            seed = np.random.SeedSequence([self.seed, KINDS.index(kind), len(self._events)])
            generator = Generator(resid.device)
            generator.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
            drawn = []
            for _ in range(self.draws):
                drawn.append(block.layers(kind, self.scores, generator))
                bar.update()
            self._layers[kind].append(np.stack(drawn))
        bar.close()
        self._events.append(events)


@dataclass(frozen=True, eq=False)
class _Block:
    """The states of some documents, ready to be drawn from."""

    paths: paths.Paths
    dtype: torch.dtype
    final: Int[Tensor, "token k"]
    doc: Int[Tensor, " token"]

    @staticmethod
    def of(resid: Float[Tensor, "layer token d"], events: SaturationEvents) -> "_Block":
        def on_device(values: ndarray) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=resid.device)

        geometry = paths.Paths.of(resid)
        return _Block(geometry, resid.dtype, on_device(events.token), on_device(events.doc))

    def layers(self, kind: str, scores: Callable, generator: Generator) -> Int[ndarray, "token k"]:
        """The saturation layers of one draw: the same scan, towards the same final ranking."""
        if kind == "exchanged":
            states = paths.exchanged(self.paths, self._donors(generator))
        else:
            states = getattr(paths, kind)(self.paths, generator)
        layer = backward_scan(states.to(self.dtype), self.final, scores)
        return layer.cpu().numpy().astype(np.int16)

    def _donors(self, generator: Generator) -> Int[Tensor, " token"]:
        return paths.pick_donors(self.doc, self.final[:, 0], generator)

    def check_donors(self) -> None:
        """Refuse to draw "exchanged" where a token has nobody to exchange with."""
        alone = int((paths.donor_counts(self.doc, self.final[:, 0]) == 0).sum())
        if alone:
            docs = len(self.doc.unique())
            raise InputError(
                "The exchanged null takes each token's way from another document that ends in "
                f"another token; {alone} of {len(self.doc)} tokens, in {docs} document(s), have no "
                "such donor. Give more documents, or leave 'exchanged' out of kinds."
            )


def _joined(parts: Sequence[tuple[Tensor, SaturationEvents]]) -> tuple[Tensor, SaturationEvents]:
    """One block from batches."""
    resid = torch.cat([states for states, _ in parts], dim=1)
    return resid, SaturationEvents.concat([events for _, events in parts])
