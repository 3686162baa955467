"""What a lens is: a residual state after some block -> output scores."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError
from satlens.models.protocol import ResidualModel
from satlens.models.readout import Head


@runtime_checkable
class Lens(Protocol):
    """Reads output scores off a residual state, before the model has finished.

    At the last layer a lens must give the model's own logits. Anything with these two members is
    a lens; `tests/contracts/lens.py` holds what else is expected of it.
    """

    @property
    def name(self) -> str:
        """For tables and settings."""
        ...

    def scores(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch output"]:
        """The scores at the state ``resid`` after block ``layer``; rows are independent."""
        ...


@runtime_checkable
class LinearLens(Lens, Protocol):
    """A lens that ends in one linear map, the same at every layer: ``z = W x + b``, ``x = features(h, l)``.

    What follows the map must keep the order of the scores. Its rankings are decided by exact sums, and
    found without scoring every output at every layer (`satlens.saturation.certified`).
    """

    def features(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch d_head"]:
        """What the map reads at this state."""
        ...

    def head(self) -> Head | None:
        """The map; None if it cannot be told at the moment, and `scores` is all there is."""
        ...


def check_model(lens: Lens, model: ResidualModel) -> None:
    """Refuse a lens that says it is of another model: its numbers would mean nothing.

    Raises:
        InputError: the host of ``lens.model``, if it has one, is another.
    """
    own = getattr(lens, "model", None)
    if isinstance(own, ResidualModel) and own.host is not model.host:
        raise InputError(
            f"The lens {lens.name!r} reads the states of {own.name}, and was given beside another model, "
            f"{model.name}. Fit it on that one, or load it with that one."
        )
