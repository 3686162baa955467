"""Which model a lens was learned on, so that it is never laid on another one."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import torch

from satlens.errors import InputError
from satlens.models.identity import weights_sha256
from satlens.models.protocol import ResidualModel
from satlens.models.readout import LinearReadout, head_of


@dataclass(frozen=True)
class ModelIdentity:
    """What a lens file says of its model.

    Attributes:
        weights_sha256: see `satlens.models.weights_sha256`.
        unembedding_sha256: of W and b of the readout's linear map; None where it has none.
    """

    name: str
    n_layers: int
    d_model: int
    n_outputs: int
    weights_sha256: str
    unembedding_sha256: str | None

    @staticmethod
    def of(model: ResidualModel) -> "ModelIdentity":
        """That of a model as it is now."""
        return ModelIdentity(
            model.name, model.n_layers, model.d_model, model.n_outputs,
            weights_sha256(model), unembedding_sha256(model),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    def same(self, other: "ModelIdentity") -> bool:
        """Whether both are of the same weights; names may differ."""
        return (self.weights_sha256, self.unembedding_sha256, self.n_layers) == (
            other.weights_sha256, other.unembedding_sha256, other.n_layers,
        )  # fmt: skip

    def check(self, model: ResidualModel, what: str) -> "ModelIdentity":
        """Refuse another model than this one.

        Args:
            what: what is of this model ("The shortcut NAME.json").

        Raises:
            InputError: which model it is of, which one was given, and what differs.
        """
        given = ModelIdentity.of(model)
        if self.same(given):
            return given
        if (self.n_layers, self.d_model, self.n_outputs) != (
            given.n_layers, given.d_model, given.n_outputs
        ):  # fmt: skip
            why = "They have other shapes."
        elif self.unembedding_sha256 == given.unembedding_sha256:
            why = (
                "Their unembeddings are the same, their other weights are not: trained further, of another "
                "type, or the same weights in another layout (a HookedTransformer beside a bridge). "
                "Load the model in the way it was loaded then."
            )
        else:
            why = "Their unembeddings differ as well."
        raise InputError(
            f"{what} is of the model {self._said()}; the model given is {given._said()}. {why} A lens reads "
            "the states of the weights that it was fitted on, and no others."
        )

    def _said(self) -> str:
        return (
            f"{self.name} ({self.n_layers} blocks of width {self.d_model}, {self.n_outputs} outputs, "
            f"weights {self.weights_sha256[:12]}..)"
        )


@torch.no_grad()
def unembedding_sha256(model: ResidualModel) -> str | None:
    """SHA-256 of the type, shape and bytes of ``[W b]`` by rows; the same for every layout of a model."""
    readout = model.readout
    head = head_of(readout.output) if isinstance(readout, LinearReadout) else None
    if head is None:
        return None
    digest = hashlib.sha256(f"{head.weight.dtype} {tuple(head.weight.shape)}\n".encode())
    for part in (*head.weight.split(8192), *([] if head.bias is None else [head.bias])):
        flat = part.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
