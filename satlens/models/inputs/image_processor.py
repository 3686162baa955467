"""The image processor that belongs to a model: what its folder says about size, crop and normalisation.

Always the one on pillow where transformers has both, so that the pixels do not hang on whether torchvision is
installed (the two resize differently): transformers 5 calls it ``...ImageProcessorPil``, 4.5x the slow one.
"""

import importlib.util
import logging
from pathlib import Path
from typing import Any

from torch import nn

from satlens.errors import MissingExtraError, ModelError
from satlens.models.inputs.images import pillow, reason

logger = logging.getLogger("satlens")

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def reads_images(host: nn.Module) -> bool:
    """Whether a Hugging Face model reads pixels alone (one that reads text as well is no image model)."""
    config = getattr(host, "config", None)
    return (
        getattr(host, "main_input_name", None) == "pixel_values"
        and hasattr(config, "image_size")
        and not hasattr(config, "vocab_size")
    )


def processor_of(host: nn.Module) -> Any:
    """The image processor kept on a host as ``image_processor`` or ``processor``, or None."""
    for name in ("image_processor", "processor"):
        found = getattr(host, name, None)
        if found is not None:
            return getattr(found, "image_processor", found)  # of a processor of several inputs
    return None


def load_image_processor(source: str, local: bool, revision: str = "main") -> Any:
    """The image processor, or None (with a note) where there is none: the model then reads pixels only.

    Raises:
        MissingExtraError: transformers has it for torchvision only, which is not installed.
        ModelError: the folder's settings cannot be read.
    """
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in PROCESSOR_FILES):
        logger.warning(
            "%s has no preprocessor_config.json: the model reads pixels, not images.", source
        )
        return None
    try:
        pillow()
    except MissingExtraError as error:
        logger.warning("%s The model reads pixels only.", error)
        return None
    from transformers import AutoImageProcessor

    # transformers 5 names the backend; 4.5x has "fast" for torchvision.
    backends = importlib.util.find_spec("transformers.image_processing_backends") is not None
    kind = {"backend": "pil"} if backends else {"use_fast": False}
    try:
        return AutoImageProcessor.from_pretrained(
            source, local_files_only=local, revision=revision, **kind
        )
    except Exception as cause:
        told = str(cause).replace(source, "")
        if "torchvision" in told and importlib.util.find_spec("torchvision") is None:
            raise MissingExtraError(
                f"transformers has the image processor of {source} for torchvision only, which is not "
                "installed: pip install torchvision"
            ) from cause
        if folder.is_dir():
            raise ModelError(
                f"The image processor of {source} cannot be loaded ({reason(cause)})."
            ) from cause
        logger.warning(
            "%s comes without an image processor that loads (%s).", source, reason(cause)
        )
        return None
