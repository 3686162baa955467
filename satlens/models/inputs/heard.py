"""Recordings -> rows of waveforms, every frame of which counts.

frames                  n -> (n - kernel) // stride + 1, by every convolution in turn
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satlens.errors import InputError
from satlens.models.inputs.audio import rate_of, read_audio
from satlens.models.inputs.batches import Batches, batch_without_tokens
from satlens.models.inputs.text import strip_row
from satlens.models.protocol import Batch


@dataclass(frozen=True)
class HeardRow:
    """One recording, and the frames that the model makes of it."""

    doc: int
    name: str
    wave: Float[Tensor, " sample"]
    real: Bool[Tensor, " frame"]

    def __len__(self) -> int:
        return len(self.real)


def heard_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    extractor: Any,
    convolutions: Sequence[tuple[int, int]],
    dtype: torch.dtype,
    device: torch.device | str,
) -> Batches:
    """Recordings in padded batches, every frame once; ``include_bos`` is there for one signature.

    Accepted: what `satlens.models.read_audio` takes, prepared by the processor on the model
    (``model.processor``), or a mapping with ``input_values`` and ``attention_mask`` prepared before.

    Raises:
        InputError: as `read_audio`; also a recording too short for one frame.
    """
    if isinstance(inputs, Mapping) and "input_values" in inputs:
        waves = prepared(inputs)
        docs, note = range(len(waves)), None
        names = tuple(f"recording {i}" for i in docs)
    else:
        found = read_audio(inputs, rate=rate_of(extractor))
        names, docs, note = found.names, found.item, found.note
        waves = [
            extractor(wave.numpy(), sampling_rate=found.rate, return_tensors="pt")["input_values"][
                0
            ]
            for wave in found.waves
        ]
    rows = []
    for doc, name, wave in zip(docs, names, waves, strict=True):
        n = n_frames(len(wave), convolutions)
        if n < 1:
            raise InputError(f"{name}: {len(wave)} samples are too few for one frame.")
        rows.append(HeardRow(doc, name, wave, torch.ones(n, dtype=torch.bool)))
    collate = partial(collate_heard, dtype=dtype, device=device)
    return Batches(tuple(rows), batch_size, collate, len(rows), note)


def prepared(fields: Mapping[str, Any]) -> list[Float[Tensor, " _sample"]]:
    """Waveforms as a processor gives them, without what its mask leaves out."""
    values = torch.as_tensor(fields["input_values"])
    if values.ndim != 2 or not values.is_floating_point() or not values.numel():
        raise InputError(
            f"input_values are floats [recording, sample]; got {values.dtype} of shape "
            f"{tuple(values.shape)}."
        )
    if not bool(torch.isfinite(values).all()):
        raise InputError("input_values hold NaN or infinite values.")
    values = values.detach().cpu().clone()
    mask = fields.get("attention_mask")
    if mask is None:
        return list(values)
    mask = torch.as_tensor(mask)
    if mask.shape != values.shape:
        raise InputError(
            f"input_values have shape {tuple(values.shape)}, attention_mask {tuple(mask.shape)}."
        )
    return [strip_row(row, keep, i) for i, (row, keep) in enumerate(zip(values, mask, strict=True))]


def n_frames(samples: int, convolutions: Sequence[tuple[int, int]]) -> int:
    """Positions that the convolutions leave of this many samples.

    >>> n_frames(16_000, [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)])
    49
    """
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples


def collate_heard(
    rows: Sequence[HeardRow], dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """One batch; positions are frames."""
    waves = [row.wave for row in rows]
    mask = pad_sequence([torch.ones(len(wave), dtype=torch.int64) for wave in waves], True)
    # Not "attention_mask": that is a mask of positions, and a position is a frame.
    args = {"input_values": pad_sequence(waves, batch_first=True).to(dtype), "sample_mask": mask}
    return batch_without_tokens(rows, args, device)
