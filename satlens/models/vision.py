"""Pixels -> `Batches`, for image classifiers: one image is one document with one real position.

A vision Transformer reads its answer off the class token, position 0 of the stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError
from satlens.models.batches import Batches
from satlens.models.protocol import Batch


@dataclass(frozen=True)
class ImageRow:
    """One image; `Batches` counts and sorts it like a row of one position."""

    doc: int
    pixels: Float[Tensor, "channel height width"]
    real: Tensor

    def __len__(self) -> int:
        return 1


def pixel_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    shape: tuple[int, int, int],
    n_positions: int,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> Batches:
    """Images ``[batch, channel, height, width]``, as the image processor gives them, in batches.

    ``n_positions`` is the length of the residual stream (patches and class token). ``include_bos`` is
    accepted for the sake of one signature: an image has no BOS.
    """
    pixels = inputs.get("pixel_values") if hasattr(inputs, "get") else inputs
    if not isinstance(pixels, Tensor) or pixels.ndim != 4 or not pixels.is_floating_point():
        found = tuple(pixels.shape) if isinstance(pixels, Tensor) else type(pixels).__name__
        raise InputError(
            f"An image model reads float pixels [batch, {', '.join(map(str, shape))}]; got {found}."
        )
    if tuple(pixels.shape[1:]) != shape:
        raise InputError(
            f"The images have shape {tuple(pixels.shape[1:])}; the model reads {shape}."
        )
    if not len(pixels):
        raise InputError("Got no images.")
    if not bool(torch.isfinite(pixels).all()):
        raise InputError("The pixels hold NaN or infinite values.")
    real = torch.zeros(n_positions, dtype=torch.bool)
    real[0] = True
    rows = tuple(ImageRow(doc, image, real) for doc, image in enumerate(pixels))
    return Batches(rows, batch_size, partial(collate_images, dtype=dtype, device=device), len(rows))


def collate_images(
    rows: Sequence[ImageRow], dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """One batch of images."""
    real = torch.stack([row.real for row in rows]).to(device)
    return Batch(
        args={"pixel_values": torch.stack([row.pixels for row in rows]).to(device, dtype)},
        real=real,
        doc=torch.tensor([row.doc for row in rows], device=device),
        start=torch.zeros(len(rows), dtype=torch.int64, device=device),
        tokens=torch.full(real.shape, -1, device=device),
    )
