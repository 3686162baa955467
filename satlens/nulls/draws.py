"""Saturation layers of the same tokens under a null: `NullDraws`, and the nulls made from events alone.

permuted    each token's k layers, shuffled among its ranks
untrained   the same tokens, read by models of the same shape with fresh weights
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.saturation.events import SaturationEvents

NULL_DRAWS = 20


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
