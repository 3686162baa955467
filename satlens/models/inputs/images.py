"""Pictures in files and in memory, found, checked and opened with pillow.

A picture is read as transformers reads one: the first frame, upright by its EXIF tag (files only), in RGB
(or grey, where the model reads one channel), without its alpha channel. What has no agreed way to 8 bits
a channel (16-bit grey, floats) is refused: pillow would clip it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from satlens.errors import InputError, MissingExtraError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""The files of a folder that are taken for images; a file that is named itself may have any suffix."""
ACCEPTED = (
    "a folder of images, paths of images, PIL images, uint8 arrays [height, width, channel], the image "
    "processor's output, or float pixels [image, channel, height, width]"
)
NAMED = 5
"""Images that a note names one by one."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as the user gave it, not yet read.

    Attributes:
        name: its path, or "image 3" (counted from 0) where it has none.
        source: a path, a PIL image, or an array.
    """

    name: str
    source: Any

    def open(self, channels: int) -> Any:
        """The decoded PIL image, with 1 (grey) or 3 (RGB) channels.

        Raises:
            InputError: it cannot be read; the message has the reason alone.
        """
        image_module = pillow()
        from PIL import ImageOps, UnidentifiedImageError

        try:
            if isinstance(self.source, Path):
                with image_module.open(self.source) as image:
                    return _convert(ImageOps.exif_transpose(image), channels)
            if isinstance(self.source, ndarray):
                return _convert(image_module.fromarray(self.source), channels)
            return _convert(self.source, channels)
        except InputError:
            raise
        except UnidentifiedImageError as cause:
            raise InputError("no image that pillow knows") from cause
        # Each of pillow's decoders has errors of its own for a damaged file.
        except Exception as cause:
            raise InputError(reason(cause)) from cause


def _convert(image: Any, channels: int) -> Any:
    """In RGB or grey, every byte decoded."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise InputError(f"its values are of mode {image.mode}, not 8 bits a channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, pillow warns
    return image.convert("L" if channels == 1 else "RGB")


def reason(cause: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    first = str(cause).strip().partition("\n")[0]
    return f"{type(cause).__name__}: {first[:200]}" if first else type(cause).__name__


def pillow() -> Any:
    """The module `PIL.Image`.

    Raises:
        MissingExtraError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as cause:
        raise MissingExtraError(
            'Reading images needs pillow, which is not installed: pip install "satlens[vision]"'
        ) from cause
    return Image


def is_pil(value: Any) -> bool:
    """Whether it is a PIL image (told by its class's name, so that pillow need not be installed)."""
    return any((c.__module__, c.__name__) == ("PIL.Image", "Image") for c in type(value).__mro__)


def find_pictures(inputs: Any) -> list[Picture]:
    """The pictures of any accepted input, in order; folders are searched whole, in order of path.

    Raises:
        InputError: a path that is not there (or a text), a folder without images, an array that is no
            8-bit image, nothing at all, or anything else.
    """
    if isinstance(inputs, str | Path) or is_pil(inputs):
        return _pictures_of(inputs, 0)
    if isinstance(inputs, ndarray):
        return _pictures_of_array(inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, bytes):
        if not inputs:
            raise InputError(f"Got no images (an empty list); pass {ACCEPTED}.")
        return [picture for index, one in enumerate(inputs) for picture in _pictures_of(one, index)]
    keys = f" with the keys {sorted(map(str, inputs))}" if isinstance(inputs, Mapping) else ""
    raise InputError(f"An image model cannot read {type(inputs).__name__}{keys}; pass {ACCEPTED}.")


def _pictures_of_array(array: ndarray) -> list[Picture]:
    """One image, or several along the first axis."""
    if array.ndim != 4:
        return _pictures_of(array, 0)
    if not len(array):
        raise InputError(f"Got no images (an array of shape {array.shape}); pass {ACCEPTED}.")
    return [picture for index, one in enumerate(array) for picture in _pictures_of(one, index)]


def _pictures_of(one: Any, index: int) -> list[Picture]:
    """The pictures of one entry: those of a folder, or one."""
    if isinstance(one, str | Path):
        return _pictures_of_path(one)
    if is_pil(one):
        return [Picture(f"image {index}", one)]
    if isinstance(one, ndarray):
        return [Picture(f"image {index}", _eight_bits(one, index))]
    found = f"a tensor of {one.dtype}" if isinstance(one, Tensor) else type(one).__name__
    raise InputError(
        f"Image {index} is {found}, which an image model cannot read; pass {ACCEPTED}."
    )


def _pictures_of_path(path: str | Path) -> list[Picture]:
    # os.path answers False where a text is no possible path; pathlib would raise.
    if os.path.isdir(path):
        return _pictures_of_folder(Path(path))
    if not os.path.isfile(path):
        text = str(path)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise InputError(
            f"{shown!r} is neither a file nor a folder. An image model reads images, not text: "
            f"pass {ACCEPTED}."
        )
    return [Picture(str(path), Path(path))]


def _pictures_of_folder(folder: Path) -> list[Picture]:
    """The images below a folder, in order of path; hidden files and folders are left alone."""
    inside = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    seen = [path for path in inside if not any(part.startswith(".") for part in path.parts)]
    found = sorted(path for path in seen if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(
            f"The folder {folder} holds no images: {len(seen)} files, none of which ends in "
            f"{', '.join(SUFFIXES)}."
        )
    return [Picture(path.as_posix(), folder / path) for path in found]


def _eight_bits(array: ndarray, index: int) -> UInt8[ndarray, "height width *channel"]:
    """An array as pillow takes it: ``[height, width]`` or ``[height, width, 3 or 4]``."""
    one_channel = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    fits = one_channel.ndim == 2 or (one_channel.ndim == 3 and one_channel.shape[-1] in (3, 4))
    if array.dtype != np.uint8 or not fits or not array.size:
        raise InputError(
            f"Image {index} is an array of {array.dtype} and shape {array.shape}; an image is uint8, "
            "[height, width] or [height, width, channel] with 1 (grey), 3 (RGB) or 4 (RGBA) channels."
        )
    return one_channel


def readable(pictures: Sequence[Picture], channels: int) -> tuple[list[int], str | None]:
    """The places of those that can be decoded, and a note that names the others.

    Every one is decoded here, one at a time, so that a damaged file is known before anything is computed.

    Raises:
        InputError: none can be decoded.
    """
    good, bad = [], []
    for index, picture in enumerate(pictures):
        try:
            picture.open(channels)
            good.append(index)
        except InputError as error:
            bad.append(f"{picture.name} ({error})")
    if not bad:
        return good, None
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    named = f"{', '.join(bad[:NAMED])}{more}"
    if not good:
        raise InputError(f"None of {len(bad)} images can be read: {named}.")
    return good, f"{len(bad)} of {len(pictures)} images cannot be read and are left out: {named}."
