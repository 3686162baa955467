"""The logit lens: ``z_l = r(h_l)`` with ``r`` the model's own readout.

For a decoder ``r(h) = unembed(norm_final(h))`` and a soft cap where the model has one.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from satlens.models.protocol import ResidualModel


@dataclass(frozen=True)
class LogitLens:
    """Every layer read as if it were the last one (nostalgebraist 2020; the papers' lens).

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> lens = satlens.LogitLens(model)
        >>> states = model.states(next(iter(model.batches("One day a dog", 1))))
        >>> tuple(lens.scores(states.resid[3], layer=3).shape) == (len(states.pos), model.n_outputs)
        True
    """

    model: ResidualModel
    name: str = "logit"

    def scores(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch output"]:
        """``r(resid)``, whatever the layer."""
        return self.model.readout(resid)
