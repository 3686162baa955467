"""Any model, seen as one `ResidualModel`: states by layer, one readout, documents in batches."""

from satlens.models.batches import Batches
from satlens.models.fast_linear import fast_linears
from satlens.models.fill_in import MaskedDocuments, mask_documents, with_masks
from satlens.models.hooked_hf import HookedModule
from satlens.models.identity import weights_sha256
from satlens.models.load import load_model
from satlens.models.protocol import Batch, ResidualModel, States
from satlens.models.untrained import untrained
from satlens.models.wrap import wrap

__all__ = [
    "Batch",
    "Batches",
    "HookedModule",
    "MaskedDocuments",
    "ResidualModel",
    "States",
    "fast_linears",
    "load_model",
    "mask_documents",
    "untrained",
    "weights_sha256",
    "with_masks",
    "wrap",
]
