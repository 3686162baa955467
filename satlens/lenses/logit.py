"""The logit lens: ``z_l = r(h_l)`` with ``r`` the model's own readout.

For a decoder ``r(h) = unembed(norm_final(h))`` and a soft cap where the model has one.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from satlens.models.protocol import ResidualModel
from satlens.models.readout import Head, LinearReadout


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

    def features(
        self, resid: Float[Tensor, "*batch d"], layer: int
    ) -> Float[Tensor, "*batch d_head"]:
        """The final norm of the state, whatever the layer; the state itself without a head."""
        readout = self.model.readout
        return readout.features(resid) if isinstance(readout, LinearReadout) else resid

    def head(self) -> Head | None:
        """The model's unembedding; None where its readout is not known to end in one."""
        readout = self.model.readout
        return readout.head() if isinstance(readout, LinearReadout) else None
