"""Linear shortcuts: a later state as a linear map of an earlier one ("mat").

    h_j ~ A_ij h_i (+ b_ij),        z_i = r(A_iL h_i)

with A fitted by least squares (`satlens.lenses.fitter.ShortcutFitter`), states before the final norm, and r
the model's own readout (final norm and unembedding), which comes after the jump to the last layer.
The identity in place of A is the logit lens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError
from satlens.lenses.identity import ModelIdentity
from satlens.lenses.transported import TransportedLens, check_layer, check_width
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel


@dataclass(frozen=True, eq=False)
class LinearMap:
    """``y = F_1 .. F_m x + b (+ x)``: one matrix, or the two factors of a map of low rank, or b alone.

    Example:
        >>> twice = LinearMap((2 * torch.eye(3),))
        >>> twice(torch.ones(1, 3)).tolist(), twice.rank
        ([[2.0, 2.0, 2.0]], 3)
    """

    factors: tuple[Float[Tensor, "_ _"], ...]
    bias: Float[Tensor, " e"] | None = None
    residual: bool = False
    """Whether x itself is added."""

    def __post_init__(self) -> None:
        if not self.factors and self.bias is None:
            raise InputError("A LinearMap needs a matrix, or two factors, or a bias; got none.")

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch e"]:
        """The map of states; computed in its own type, given in theirs."""
        y = own = x.to(self.tensors[0])
        for factor in reversed(self.factors):
            y = y @ factor.T
        if self.bias is not None:
            y = y + self.bias if self.factors else self.bias.expand_as(own)
        return (y + own if self.residual else y).to(x)

    @property
    def weight(self) -> Float[Tensor, "e d"]:
        """The matrix, with the identity in it where x is added."""
        if not self.factors:
            bias = cast(Tensor, self.bias)  # without a matrix there is one
            whole = bias.new_zeros(len(bias), len(bias))
        elif len(self.factors) == 1:
            whole = self.factors[0]
        else:
            whole = torch.linalg.multi_dot(self.factors)
        return whole + torch.eye(len(whole)).to(whole) if self.residual else whole

    @property
    def rank(self) -> int:
        """The largest rank that the product of the factors can have."""
        return min((min(factor.shape) for factor in self.factors), default=0)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it consists of."""
        return (*self.factors, *(() if self.bias is None else (self.bias,)))


@dataclass(frozen=True, eq=False)
class LinearShortcut(TransportedLens):
    """Frozen maps between layers, and a lens that reads every layer through its map to the last one.

    Made by `LinearShortcut.fit`, or by `satlens.lenses.ShortcutFitter` for streams and merges.

    Attributes:
        model: whose states it reads.
        maps: by pair of layers ``(i, j)``, i < j.
        settings: what made it, plain values.
        name: for tables.
        identity: of the model that it was fitted on.

    Source: Yom Din et al. 2023 (arXiv 2303.09435), section 2.

    Example:
        >>> import satlens
        >>> model = satlens.load_model("tiny")
        >>> lens = satlens.LinearShortcut.fit(model, "Lily had a red ball. " * 40, ridge=0.01)
        >>> events = satlens.detect(model, "One day a dog ran.", k=3, lens=lens)
        >>> events.settings["lens"]
        'shortcut'
    """

    model: ResidualModel
    maps: Mapping[tuple[int, int], LinearMap]
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = "shortcut"
    identity: ModelIdentity = cast(ModelIdentity, None)  # by default that of the model

    def __post_init__(self) -> None:
        own = object.__setattr__
        own(self, "model", wrap(self.model))
        own(self, "maps", MappingProxyType(dict(self.maps)))
        own(self, "settings", MappingProxyType(dict(self.settings)))
        d = self.model.d_model
        for (i, j), one in self.maps.items():
            check_pair(self.model, i, j)
            shapes = [tuple(tensor.shape) for tensor in one.tensors]
            if shapes[0][0] != d or any(f.shape[1] != d for f in one.factors[-1:]):
                raise InputError(
                    f"The map from layer {i} to {j} has tensors of shapes {shapes}; {self.model.name} has "
                    f"width {d}."
                )
        if self.identity is None:
            own(self, "identity", ModelIdentity.of(self.model))

    @staticmethod
    def fit(
        model: Any,
        inputs: Any,
        *,
        pairs: "Pairs" = None,
        ridge: float = 0.0,
        intercept: bool = False,
        rank: int | None = None,
        shared: str | None = None,
        residual: bool = False,
        batch_size: int = 8,
        include_bos: bool = False,
        progress: bool = False,
    ) -> "LinearShortcut":
        """Fit the maps in one pass over the inputs.

        Args:
            model, inputs, batch_size, include_bos, progress: as in `satlens.detect`.
            pairs, ridge, intercept, rank, shared, residual: see `satlens.lenses.ShortcutFitter`.

        Raises:
            InputError: fewer states than coordinates without ridge; unusable settings or inputs.
        """
        from satlens.lenses.fitter import ShortcutFitter, check_shape
        from satlens.lenses.regression import check_enough

        model = wrap(model)
        check_shape(ridge, rank, shared, model.d_model)
        fitter = ShortcutFitter(model, pairs=pairs)
        batches = (
            inputs
            if isinstance(inputs, Batches)
            else model.batches(inputs, batch_size, include_bos)
        )
        if isinstance(batches, Batches):
            i, j = fitter.pairs[0]
            if shared != "map":  # before a forward pass is paid for
                check_enough(batches.n_tokens, model.d_model, ridge, intercept, f"layer {i} to {j}")
            inputs = batches
        fitter.fit(inputs, batch_size=batch_size, include_bos=include_bos, progress=progress)
        return fitter.shortcut(
            ridge=ridge, intercept=intercept, rank=rank, shared=shared, residual=residual
        )

    @property
    def parameters(self) -> int:
        """Numbers that it consists of; what several maps share counts once."""
        tensors = {id(t): t.numel() for one in self.maps.values() for t in one.tensors}
        return sum(tensors.values())

    def transport(
        self, resid: Float[Tensor, "*batch d"], layer: int, to: int | None = None
    ) -> Float[Tensor, "*batch d"]:
        """``A h (+ b)``: the state after block ``layer`` carried to block ``to``; itself if they are one.

        Args:
            to: the last block if not given.

        Raises:
            InputError: states of another width, layers that the model does not have, or a pair of
                layers that was not fitted (the message names those that were).
        """
        last = self.model.n_layers - 1
        to = last if to is None else to
        check_width(self.model, resid)
        check_layer(self.model, layer)
        check_layer(self.model, to, "to")
        if layer == to:
            return resid
        if (layer, to) not in self.maps:
            raise InputError(
                f"The shortcut has no map from layer {layer} to {to}; it has {listed(self.maps)}. Fit it "
                f"with pairs=[..., ({layer}, {to})]."
            )
        return self.maps[layer, to](resid)

    def save(self, path: str | Path) -> None:
        """Write ``path.safetensors`` and ``path.json``, each complete or not at all.

        Raises:
            OutputError: the files cannot be written.
        """
        from satlens.lenses.stored import save_shortcut

        save_shortcut(self, path)

    @staticmethod
    def load(path: str | Path, model: Any) -> "LinearShortcut":
        """The shortcut that `save` wrote, on the model it was fitted on. Nothing is unpickled.

        Raises:
            InputError: another model, or files that were changed, cut short or are not there.
        """
        from satlens.lenses.stored import load_shortcut

        return load_shortcut(path, wrap(model))


Pairs = str | Sequence[tuple[int, int]] | None
"""Pairs of layers to fit: None for every layer to the last one, "all" for every i < j, or a list."""


def check_pair(model: ResidualModel, i: int, j: int) -> None:
    """Refuse a pair that is no jump forward.

    Raises:
        InputError: a layer that the model does not have, or i >= j.
    """
    check_layer(model, i, "The layer that a shortcut starts from")
    check_layer(model, j, "The layer that a shortcut ends at")
    if i >= j:
        raise InputError(f"A shortcut goes from a layer to a later one; got {i} to {j}.")


def listed(pairs: Iterable[tuple[int, int]], most: int = 8) -> str:
    """Some pairs, for a message.

    >>> listed([(0, 3), (1, 3)])
    '0 to 3, 1 to 3'
    """
    pairs = list(pairs)
    words = ", ".join(f"{i} to {j}" for i, j in pairs[:most]) or "none"
    return words + (f" and {len(pairs) - most} more" if len(pairs) > most else "")
