"""Images -> `Batches`, for image classifiers: one image is one document with one real position.

A vision Transformer reads its answer off the class token, position 0 of the stream. Pictures (files, PIL
images, 8-bit arrays) go through the model's own image processor, a batch at a time; float pixels are taken as
they are. ``doc`` is the place of an image among those that were given (in a folder: in order of path).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from satlens.errors import InputError
from satlens.models.inputs.batches import Batches, batch_without_tokens
from satlens.models.inputs.images import Picture, find_pictures, pillow, readable, reason
from satlens.models.protocol import Batch

NO_PROCESSOR = (
    "The model has no image processor, so it reads float pixels only. Set model.processor = "
    "transformers.AutoImageProcessor.from_pretrained(...), or load the model with satlens.load_model "
    "from a folder that has a preprocessor_config.json."
)


@dataclass(frozen=True, eq=False)
class Preprocess:
    """A picture -> float pixels, by the model's own image processor."""

    processor: Any
    shape: tuple[int, int, int]

    def __call__(self, picture: Picture) -> Float[Tensor, "channel height width"]:
        """Decode one picture, and do what the processor does (resize, crop, rescale, normalise).

        Raises:
            InputError: it cannot be read, or the processor gives pixels that the model does not read.
        """
        try:
            image = picture.open(self.shape[0])
        except InputError as error:
            raise InputError(f"{picture.name} cannot be read: {error}.") from error
        try:
            # One at a time: what an image gives does not depend on the others of its batch.
            pixels = self.processor(images=[image], return_tensors="pt")["pixel_values"][0]
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as cause:
            raise InputError(
                f"The image processor {type(self.processor).__name__} fails on {picture.name} "
                f"({reason(cause)})."
            ) from cause
        if tuple(pixels.shape) != self.shape or not pixels.is_floating_point():
            raise InputError(
                f"The image processor {type(self.processor).__name__} makes pixels of {pixels.dtype} and "
                f"shape {tuple(pixels.shape)} of {picture.name}; the model reads floats of shape "
                f"{self.shape}. It belongs to another model."
            )
        if not bool(torch.isfinite(pixels).all()):
            raise InputError(f"The image processor makes NaN or infinite pixels of {picture.name}.")
        return pixels


@dataclass(frozen=True, eq=False)
class ImageRow:
    """One image; `Batches` counts and sorts it like a row of one position.

    Attributes:
        source: float pixels, or a `Picture` that ``preprocess`` reads whenever pixels are asked for, so
            that a folder of images is never in memory as pixels.
    """

    doc: int
    source: Tensor | Picture
    real: Bool[Tensor, " pos"]
    preprocess: Preprocess | None = None

    def __len__(self) -> int:
        return 1

    @property
    def name(self) -> str:
        """The path of the image, or its number."""
        return self.source.name if isinstance(self.source, Picture) else f"image {self.doc}"

    @property
    def pixels(self) -> Float[Tensor, "channel height width"]:
        """What the model reads."""
        if isinstance(self.source, Tensor):
            return self.source
        if self.preprocess is None:
            raise InputError(NO_PROCESSOR)
        return self.preprocess(self.source)


def image_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    shape: tuple[int, int, int],
    n_positions: int,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    processor: Any = None,
) -> Batches:
    """Images of any accepted kind (`satlens.models.inputs.images.ACCEPTED`) in batches.

    Pictures that cannot be decoded are left out, and named in the note of the batches.

    Args:
        shape: ``(channel, height, width)`` of the model.
        n_positions: the length of the residual stream (patches, class token and any others).
        processor: the model's image processor, or None: then it reads float pixels only.
        include_bos: accepted for the sake of one signature: an image has no BOS.

    Raises:
        InputError: text, an empty folder, no readable image, pictures without a processor, pixels that
            the model does not read.
        MissingExtraError: pictures, and pillow is not installed.
    """
    pixels, real = given_pixels(inputs), class_token(n_positions)
    collate = partial(collate_images, dtype=dtype, device=device)
    if pixels is not None:
        check_pixels(pixels, shape)
        rows = tuple(ImageRow(doc, image, real) for doc, image in enumerate(pixels))
        return Batches(rows, batch_size, collate, len(rows))
    pictures = find_pictures(inputs)
    if shape[0] not in (1, 3):
        raise InputError(
            f"The model reads images of {shape[0]} channels; pass float pixels [image, "
            f"{', '.join(map(str, shape))}], as pictures have 1 (grey) or 3 (RGB)."
        )
    pillow()
    if processor is None:
        raise InputError(NO_PROCESSOR)
    good, note = readable(pictures, shape[0])
    preprocess = Preprocess(processor, shape)
    preprocess(pictures[good[0]])  # a processor of another model is found out before the first pass
    rows = tuple(ImageRow(doc, pictures[doc], real, preprocess) for doc in good)
    return Batches(rows, batch_size, collate, len(rows), note)


def given_pixels(inputs: Any) -> Any:
    """The float pixels of a tensor, of a list of tensors or of a processor's output; None of pictures."""
    if isinstance(inputs, Mapping) and "pixel_values" in inputs:
        inputs = inputs["pixel_values"]
    if isinstance(inputs, ndarray) and inputs.dtype.kind == "f":
        return torch.tensor(inputs)
    several = isinstance(inputs, list | tuple) and len(inputs) > 0
    if several and all(isinstance(one, ndarray) and one.dtype.kind == "f" for one in inputs):
        inputs = [torch.tensor(one) for one in inputs]
    if several and all(isinstance(one, Tensor) for one in inputs):
        shapes = {tuple(one.shape) for one in inputs}
        if len(shapes) > 1:
            raise InputError(f"The images have several shapes: {sorted(shapes)}; pixels have one.")
        return torch.stack(list(inputs))
    return inputs if isinstance(inputs, Tensor) else None


def check_pixels(pixels: Tensor, shape: tuple[int, int, int]) -> None:
    """Refuse what is no stack of images ``[image, channel, height, width]`` as the model reads them."""
    if pixels.ndim != 4 or not pixels.is_floating_point():
        raise InputError(
            f"An image model reads float pixels [batch, {', '.join(map(str, shape))}]; got "
            f"{tuple(pixels.shape)} of {pixels.dtype}. "
            "Raw images go in as paths, PIL images or uint8 arrays [height, width, channel]."
        )
    if tuple(pixels.shape[1:]) != shape:
        raise InputError(
            f"The images have shape {tuple(pixels.shape[1:])}; the model reads {shape}."
        )
    if not len(pixels):
        raise InputError("Got no images.")
    if not bool(torch.isfinite(pixels).all()):
        raise InputError("The pixels hold NaN or infinite values.")


def class_token(n_positions: int) -> Bool[Tensor, " pos"]:
    """The one position that counts."""
    return torch.arange(n_positions) == 0


def collate_images(
    rows: Sequence[ImageRow], dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """One batch of images; pictures are decoded here."""
    pixels = torch.stack([row.pixels for row in rows]).to(dtype)
    return batch_without_tokens(rows, {"pixel_values": pixels}, device)
