"""Pictures and recordings as the page shows them: small enough to lie inside it.

    picture     at most 160 pixels a side, upright, RGB; a smaller one as it is
    waveform    lowest and highest sample of each of n equal stretches

The amplitudes are those of the file, so that two recordings can be compared.
"""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from satlens.errors import InputError, MissingExtraError
from satlens.models.inputs.audio import UnreadableError, from_file
from satlens.models.inputs.images import Picture

SIDE = 160
"""Pixels of the longer side of a thumbnail."""
LOSSLESS = 64
"""Pixels of the longer side up to which a thumbnail is PNG: at this size JPEG's blocks show."""
PEAKS = 300
DIGITS = 3


def thumbnail(path: Path, name: str) -> dict[str, Any] | None:
    """A picture as a data URL, or None where it cannot be read (or pillow is not installed).

    Args:
        path: the file.
        name: what it is called on the page.

    Returns:
        ``{"src", "alt", "width", "height"}``, in pixels of the thumbnail. Nothing but the pixels is taken
        from the file: no EXIF, comment or colour profile.
    """
    try:
        image = Picture(name, path).open(3)
    except (InputError, MissingExtraError):
        return None
    image.thumbnail((SIDE, SIDE))
    image.info = {}
    kind = "PNG" if max(image.size) <= LOSSLESS else "JPEG"
    packed = BytesIO()
    image.save(packed, format=kind, optimize=True)
    coded = base64.b64encode(packed.getvalue()).decode()
    width, height = image.size
    return {"src": f"data:image/{kind.lower()};base64,{coded}", "alt": name, "width": width,
            "height": height}  # fmt: skip


def sound(path: Path) -> tuple[Float[Tensor, " sample"], int] | None:
    """The waveform of a file at its own rate, or None where it cannot be read."""
    try:
        return from_file(path)
    except (UnreadableError, InputError, MissingExtraError):
        return None


def peaks(wave: Float[Tensor, " sample"], n: int = PEAKS) -> list[list[float]]:
    """The lowest and the highest sample of each of ``n`` equal stretches (fewer in a shorter wave).

    >>> import torch
    >>> peaks(torch.tensor([0.0, 0.5, -0.25, 0.125]), 2)
    [[0.0, 0.5], [-0.25, 0.125]]
    """
    samples = wave.numpy()
    ends = np.linspace(0, len(samples), min(n, len(samples)) + 1).round().astype(int)
    low = np.minimum.reduceat(samples, ends[:-1])
    high = np.maximum.reduceat(samples, ends[:-1])
    return np.round(np.stack([low, high], 1).astype(float), DIGITS).tolist()
