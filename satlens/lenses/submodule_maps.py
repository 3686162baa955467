"""Linear maps in place of sub-modules: which part of a block tolerates one?

    y_l ~ A_l x_l        x_l, y_l: what the attention (an MLP, a norm) of block l reads and writes

by least squares over all positions, no intercept by default. Inside `SubmoduleMaps.replaced` the model runs
with A_l x_l in place of y_l in the blocks from one on; everything else of it is as it was. A linear map of
attention reads its own position alone: what attention gathers from other positions is lost.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from satlens.errors import InputError, ModelError
from satlens.lenses.linear import LinearMap
from satlens.lenses.moments import Key, Moments
from satlens.lenses.regression import check_ridge, least_squares
from satlens.lenses.submodules import KINDS, Watcher, find_submodules, watched
from satlens.lenses.transported import check_layer
from satlens.models import Batches, wrap
from satlens.models.protocol import Batch, ResidualModel


@dataclass(frozen=True, eq=False)
class SubmoduleMaps:
    """Frozen maps of the sub-modules of every block.

    Attributes:
        model: whose sub-modules they stand for.
        maps: by kind (`satlens.lenses.submodules.KINDS`) and block.
        means: the mean output of each, a null for its map.
        settings: what made them, plain values.

    Source: Yom Din et al. 2023, section 6 (sub-modules).

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> maps = satlens.lenses.SubmoduleMaps.fit(model, "Lily had a red ball. " * 40, ridge=0.01)
        >>> batch = next(iter(model.batches("One day a dog ran.", 1)))
        >>> with maps.replaced("attention", start=12):
        ...     changed = model.states(batch)
        >>> same = changed.resid == model.states(batch).resid
        >>> [bool(same[layer].all()) for layer in (11, 12)]
        [True, False]
    """

    model: ResidualModel
    maps: Mapping[tuple[str, int], LinearMap]
    means: Mapping[tuple[str, int], Float[Tensor, " d"]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = object.__setattr__
        own(self, "maps", MappingProxyType(dict(self.maps)))
        own(self, "means", MappingProxyType(dict(self.means)))
        own(self, "settings", MappingProxyType(dict(self.settings)))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that there are maps of."""
        return tuple(kind for kind in KINDS if any(one == kind for one, _ in self.maps))

    @staticmethod
    def fit(
        model: Any,
        inputs: Any,
        *,
        kinds: tuple[str, ...] = KINDS,
        ridge: float = 0.0,
        intercept: bool = False,
        batch_size: int = 8,
        include_bos: bool = False,
        progress: bool = False,
    ) -> "SubmoduleMaps":
        """Fit a map for every sub-module of these kinds, in one pass over the inputs.

        Memory: two ``[d, d]`` matrices in float64 a map.

        Args:
            model, inputs, batch_size, include_bos, progress: as in `satlens.detect`.
            ridge, intercept: see `satlens.lenses.ShortcutFitter.shortcut`.

        Raises:
            ModelError: a host whose sub-modules are not found, or not run.
            InputError: an unknown kind, or fewer positions than coordinates without ridge.
        """
        model = wrap(model)
        check_ridge(ridge)
        for kind in kinds:
            check_kind(kind)
        if not kinds:
            raise InputError(f"No kinds of sub-modules to fit; there are {', '.join(KINDS)}.")
        batches = (
            inputs
            if isinstance(inputs, Batches)
            else model.batches(inputs, batch_size, include_bos)
        )
        keys = [(kind, block) for kind in kinds for block in range(model.n_layers)]
        moments = Moments([_names(*key) for key in keys])
        with tqdm(
            total=getattr(batches, "n_tokens", None), desc=f"fit, {model.name}", unit=" tokens",
            disable=not progress,
        ) as bar:  # fmt: skip
            for batch in batches:
                if batch.real.any():
                    moments.update(_seen(model, kinds, batch))
                    bar.update(int(batch.real.sum()))
        if not moments.n:
            raise InputError("The inputs hold no position that counts: nothing to fit maps to.")
        kept: dict[str, Any] = {
            "dtype": torch.promote_types(moments.dtype, torch.float32),
            "device": model.device,
            "copy": True,
        }
        maps = {}
        for key in keys:
            fitted = least_squares(
                moments.pair(*_names(*key)), ridge, intercept, f"{key[0]} of block {key[1]}"
            )
            bias = None if fitted.bias is None else fitted.bias.to(**kept)
            maps[key] = LinearMap((fitted.weight.to(**kept),), bias)
        means = {key: moments.mean(_names(*key)[1]).to(**kept) for key in keys}
        settings = {"states": moments.n, "ridge": ridge, "intercept": intercept}
        return SubmoduleMaps(model, maps, means, settings)

    @contextmanager
    def replaced(
        self, kind: str, start: int = 0, *, by: str = "map"
    ) -> Generator[None, None, None]:
        """Inside, the model runs with the maps of one kind in place, in blocks ``start .. L - 1``.

        The sub-modules still run, and what they give is not used; hooks that are already on the model
        stay, and the ones added here go on leaving and on any error.

        Args:
            by: "map", or "mean" for the mean output in place of the map, whatever is read.

        Raises:
            InputError: a kind without maps, or a block that the model does not have.
        """
        check_kind(kind)
        if by not in ("map", "mean"):
            raise InputError(f"by must be 'map' or 'mean'; got {by!r}.")
        there = self.maps if by == "map" else self.means
        if (kind, 0) not in there:
            raise InputError(
                f"There is a {by} of {', '.join(self.kinds)} here; asked for {kind!r}."
            )
        check_layer(self.model, start, "start")
        parts = find_submodules(self.model)
        replacing = [
            (
                parts[block][kind],
                f"The {kind} of block {block}",
                _map_of(self.maps[kind, block])
                if by == "map"
                else _mean_of(self.means[kind, block]),
            )
            for block in range(start, self.model.n_layers)
        ]
        with watched(replacing):
            yield


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of sub-module."""
    if kind not in KINDS:
        raise InputError(f"Unknown sub-module {kind!r}; known are {', '.join(KINDS)}.")


def _names(kind: str, block: int) -> tuple[str, str]:
    return f"input of the {kind} of block {block}", f"output of the {kind} of block {block}"


def _map_of(own: LinearMap) -> Watcher:
    return lambda given, _output: own(given)


def _mean_of(own: Float[Tensor, " d"]) -> Watcher:
    return lambda _given, output: own.to(output).expand_as(output)


def _seen(model: ResidualModel, kinds: tuple[str, ...], batch: Batch) -> dict[Key, Tensor]:
    """What the sub-modules read and write at the real positions of a batch."""
    values: dict[Key, Tensor] = {}

    def keep(kind: str, block: int) -> Watcher:
        def record(given: Tensor, output: Tensor) -> None:
            for name, seen in zip(_names(kind, block), (given, output), strict=True):
                values[name] = seen.detach()[batch.real]

        return record

    watching = [
        (parts[kind], f"The {kind} of block {block}", keep(kind, block))
        for block, parts in enumerate(find_submodules(model))
        for kind in kinds
    ]
    with watched(watching):
        model.states(batch, logits=False)
    for _, name, _ in watching:
        if f"input of the {name.removeprefix('The ')}" not in values:
            raise ModelError(
                f"{name} of {model.name} ({type(model.host).__name__}) is not run in a forward pass: its "
                "block computes that in other modules, so there is no place for a map."
            )
    return values
