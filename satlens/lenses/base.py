"""What a lens is: a residual state after some block -> output scores."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Lens(Protocol):
    """Reads output scores off a residual state, before the model has finished.

    At the last layer a lens must give the model's own logits. Anything with these two members is
    a lens; `tests/contracts/lens.py` holds what else is expected of it.
    """

    name: str
    """For tables and settings."""

    def scores(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch output"]:
        """The scores at the state ``resid`` after block ``layer``; rows are independent."""
        ...
