"""What a folder holds to prepare audio with: the processor of a speech model, kept as ``model.processor``."""

import logging
from typing import Any

from torch import nn

logger = logging.getLogger("satlens")

HEARD = ("WhisperForConditionalGeneration", "HubertForCTC", "Wav2Vec2ForCTC")
"""Speech models that `satlens.wrap` takes as transformers gives them."""


def reads_audio(host: nn.Module) -> bool:
    """Whether the module is one of them."""
    return type(host).__name__ in HEARD


def load_audio_processor(source: str, local: bool, revision: str = "main") -> Any:
    """Feature extractor and tokenizer, the feature extractor alone, or None (with a note)."""
    from transformers import AutoFeatureExtractor, AutoProcessor

    for kind in (AutoProcessor, AutoFeatureExtractor):
        try:
            processor = kind.from_pretrained(source, local_files_only=local, revision=revision)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError):
            continue  # as transformers reports files that are missing or of another kind
        if hasattr(getattr(processor, "feature_extractor", processor), "sampling_rate"):
            return processor
    logger.warning(
        "%s has no processor for audio that loads: the model reads prepared features, not recordings.",
        source,
    )
    return None
