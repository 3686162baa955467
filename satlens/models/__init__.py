"""Any model, seen as one `ResidualModel`: states by layer, one readout, documents in batches."""

from satlens.models.fast_linear import fast_linears
from satlens.models.fill_in import MaskedDocuments, mask_documents, with_masks
from satlens.models.hosts.hugging_face import HookedModule
from satlens.models.hosts.vision import class_names
from satlens.models.identity import weights_sha256
from satlens.models.inputs.audio import Recordings, read_audio
from satlens.models.inputs.batches import Batches
from satlens.models.inputs.tensors import Stacked, tensor_batches
from satlens.models.load import load_model
from satlens.models.protocol import Batch, ResidualModel, States
from satlens.models.readout import LinearReadout
from satlens.models.untrained import untrained
from satlens.models.wrap import verify, wrap

__all__ = [
    "Batch",
    "Batches",
    "HookedModule",
    "LinearReadout",
    "MaskedDocuments",
    "Recordings",
    "ResidualModel",
    "Stacked",
    "States",
    "class_names",
    "fast_linears",
    "load_model",
    "mask_documents",
    "read_audio",
    "tensor_batches",
    "untrained",
    "verify",
    "weights_sha256",
    "with_masks",
    "wrap",
]
