"""The tuned lens: every layer through its own affine translator, trained to predict the final output.

    z_l = r(h_l + A_l h_l + b_l),        A_l, b_l = argmin mean KL(p_final || softmax z_l)

with r the model's own readout, so the translator works before the final norm. At A = 0, b = 0 it is the logit
lens. A linear shortcut fits the final STATE by squared error; a tuned lens fits the final OUTPUT.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses.identity import ModelIdentity
from satlens.lenses.transported import TransportedLens, check_layer, check_width
from satlens.models import wrap
from satlens.models.protocol import ResidualModel


@dataclass(frozen=True, eq=False)
class TunedLens(TransportedLens):
    """Frozen translators, one for every layer but the last.

    Made by `TunedLens.fit`, or by `satlens.lenses.TunedLensTrainer` for streams and for runs that resume.

    Attributes:
        model: whose states it reads.
        weight: ``[L - 1, d, d]``, A of each layer.
        bias: ``[L - 1, d]``, b of each layer.
        settings: what made it, plain values.
        name: for tables.
        identity: of the model that it was trained on.

    Source: Belrose et al. 2023 (arXiv 2303.08112), section 3.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> lens = satlens.TunedLens.identity_of(model)
        >>> states = model.states(next(iter(model.batches("One day a dog", 1))))
        >>> same = lens.scores(states.resid[3], 3) == model.readout(states.resid[3])
        >>> bool(same.all())
        True
    """

    model: ResidualModel
    weight: Float[Tensor, "layer d d"]
    bias: Float[Tensor, "layer d"]
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = "tuned"
    identity: ModelIdentity = cast(ModelIdentity, None)  # by default that of the model

    def __post_init__(self) -> None:
        own = object.__setattr__
        own(self, "model", wrap(self.model))
        own(self, "settings", MappingProxyType(dict(self.settings)))
        layers, d = self.model.n_layers - 1, self.model.d_model
        found = tuple(self.weight.shape), tuple(self.bias.shape)
        if found != ((layers, d, d), (layers, d)):
            raise InputError(
                f"A tuned lens of {self.model.name} has weight {(layers, d, d)} and bias {(layers, d)}; "
                f"got {found[0]} and {found[1]}."
            )
        if self.identity is None:
            own(self, "identity", ModelIdentity.of(self.model))

    @staticmethod
    def identity_of(model: Any) -> "TunedLens":
        """The lens that training starts from: the logit lens."""
        model = wrap(model)
        layers, d = model.n_layers - 1, model.d_model
        weight = torch.zeros(layers, d, d, device=model.device)
        return TunedLens(model, weight, torch.zeros(layers, d, device=model.device))

    @staticmethod
    def fit(
        model: Any,
        inputs: Any,
        *,
        lr: float | None = None,
        epochs: int = 1,
        steps: int | None = None,
        tokens: int | None = None,
        seed: int = DEFAULT_SEED,
        batch_size: int = 8,
        include_bos: bool = False,
        progress: bool = False,
    ) -> "TunedLens":
        """Train a lens on the inputs (see `satlens.lenses.TunedLensTrainer` for the arguments).

        Raises:
            InputError: unusable inputs or settings. NumericsError: a loss that is not finite.
        """
        from satlens.lenses.trainer import TunedLensTrainer

        trainer = TunedLensTrainer(model, lr=lr, tokens=tokens, seed=seed)
        run: dict[str, Any] = {
            "epochs": epochs,
            "steps": steps,
            "batch_size": batch_size,
            "include_bos": include_bos,
        }
        return trainer.fit(inputs, **run, progress=progress).lens()

    def transport(
        self, resid: Float[Tensor, "*batch d"], layer: int, to: int | None = None
    ) -> Float[Tensor, "*batch d"]:
        """``h + A h + b``; at the last layer h itself.

        Raises:
            InputError: states of another width, a layer that the model does not have, or ``to``
                another layer than the last: that is what the translators were trained for.
        """
        last = self.model.n_layers - 1
        check_width(self.model, resid)
        check_layer(self.model, layer)
        if to not in (None, last):
            raise InputError(
                f"A tuned lens translates to the last layer, {last}; got to={to!r}. A LinearShortcut goes "
                "from any layer to any later one."
            )
        if layer == last:
            return resid
        return translated(resid, self.weight[layer], self.bias[layer])

    def save(self, path: str | Path) -> None:
        """Write ``path.safetensors`` and ``path.json``, each complete or not at all.

        Raises:
            OutputError: the files cannot be written.
        """
        from satlens.lenses.stored import save_tuned

        save_tuned(self, path)

    @staticmethod
    def load(path: str | Path, model: Any) -> "TunedLens":
        """The lens that `save` wrote, on the model it was trained on. Nothing is unpickled.

        Raises:
            InputError: another model, or files that were changed, cut short or are not there.
        """
        from satlens.lenses.stored import load_tuned

        return load_tuned(path, wrap(model))


def translated(
    resid: Float[Tensor, "*batch d"], weight: Float[Tensor, "d d"], bias: Float[Tensor, " d"]
) -> Float[Tensor, "*batch d"]:
    """``h + A h + b``, computed in the type of A, given in that of h."""
    h = resid.to(weight)
    return (h + h @ weight.T + bias).to(resid)
