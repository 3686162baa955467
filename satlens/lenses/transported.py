"""Lenses that first carry a state to the last layer and then read it as the model does.

    z_l = r(T_l(h_l)),    T_{L-1} = identity,    r the model's own readout

What T is, is the lens: a linear shortcut, an affine translator. Since r ends in the model's unembedding
wherever the model's own readout does, rankings are decided by exact sums as for the logit lens.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError
from satlens.lenses.logit import LogitLens
from satlens.models.protocol import ResidualModel
from satlens.models.readout import Head


class TransportedLens(ABC):
    """A `satlens.lenses.LinearLens` made of `transport` and the model's own readout."""

    model: ResidualModel
    name: str

    @abstractmethod
    def transport(
        self, resid: Float[Tensor, "*batch d"], layer: int, to: int | None = None
    ) -> Float[Tensor, "*batch d"]:
        """The state after block ``layer`` as it would be after block ``to`` (the last one)."""

    def scores(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch output"]:
        """The model's readout of the transported state; at the last layer the model's own logits."""
        return self.model.readout(self.transport(resid, layer))

    def features(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch d_head"]:
        """What the model's unembedding reads of the transported state."""
        return LogitLens(self.model).features(self.transport(resid, layer), layer)

    def head(self) -> Head | None:
        """The model's unembedding; None where its readout is not known to end in one."""
        return LogitLens(self.model).head()


def check_layer(model: ResidualModel, layer: int, what: str = "layer") -> None:
    """Refuse a layer that the model does not have.

    Raises:
        InputError: outside ``0 .. L - 1``.
    """
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < model.n_layers:
        raise InputError(
            f"{what} must be a block of {model.name}, 0 to {model.n_layers - 1}; got {layer!r}."
        )


def check_width(model: ResidualModel, resid: Tensor) -> None:
    """Refuse states that are not the model's.

    Raises:
        InputError: another width.
    """
    if resid.shape[-1] != model.d_model:
        raise InputError(
            f"The lens reads states of {model.name}, of width {model.d_model}; got {tuple(resid.shape)}."
        )
