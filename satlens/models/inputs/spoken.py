"""Recordings with transcripts -> `Batches`, for models that read speech and write text.

Accepted: whatever `satlens.models.inputs.audio` reads, alone or each in a tuple ``(audio, transcript)`` with
a text, token ids or None; or a mapping with ``input_features`` and, if there are any, ``decoder_input_ids``
(and ``decoder_attention_mask``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satlens.errors import InputError, ModelError
from satlens.models.inputs.audio import (
    Recordings,
    join,
    listed,
    rate_of,
    read_items,
    split_audio,
    was,
    with_note,
)
from satlens.models.inputs.batches import Batches, pad_rows
from satlens.models.inputs.pairs import one_document
from satlens.models.inputs.text import check_ids, encode, strip_padding
from satlens.models.protocol import Batch

WRITTEN_AT_ONCE = 8
"""Recordings in one batch while the model writes their transcripts."""


@dataclass
class Utterance:
    """One recording and its transcript: a text, ids, or None until it is written."""

    doc: int
    name: str
    features: Float[Tensor, "mel frame"]
    target: Any


@dataclass(frozen=True)
class SpokenRow:
    """One recording as the encoder reads it, and its transcript as the decoder does."""

    doc: int
    name: str
    features: Float[Tensor, "mel frame"]
    ids: Int[Tensor, " pos"]
    real: Bool[Tensor, " pos"]

    def __len__(self) -> int:
        return len(self.ids)


def spoken_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    extractor: Any,
    tokenizer: Any,
    shape: tuple[int, int],
    prompt: Sequence[int],
    special: frozenset[int],
    ends: frozenset[int],
    language_missing: bool,
    write: Callable[[Tensor, int], list[Tensor]],
    context: int,
    vocabulary: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Batches:
    """One row a recording. Positions that predict the transcript's tokens and its end count; the ones
    of the prompt before them only with ``include_bos``.

    Transcripts given as ids may begin with the decoder's start token; then the prompt is their own.

    Raises:
        InputError: as `satlens.models.inputs.audio.read_audio`; also a transcript longer than the context, or
            waveforms without a processor on the model.
    """
    heard, note = read_spoken(inputs, extractor, shape)
    silent = [one for one in heard if one.target is None]
    for first in range(0, len(silent), WRITTEN_AT_ONCE):
        some = silent[first : first + WRITTEN_AT_ONCE]
        features = torch.stack([one.features for one in some]).to(device, dtype)
        for one, ids in zip(some, write(features, context), strict=True):
            one.target = ids
    notes = [note]
    if silent:
        notes.append(
            f"{len(silent)} of {len(heard)} recordings came without a transcript; each is read with the "
            "model's own, written greedily."
        )
    if language_missing and (silent or any(isinstance(one.target, str) for one in heard)):
        notes.append(
            "The prompt names no language; set it with "
            'model.processor.tokenizer.set_prefix_tokens(language="english", task="transcribe").'
        )
    rows = []
    for one in heard:
        ids = target_ids(one.target, one.doc, tokenizer, vocabulary, prompt)
        if len(ids) > 1 and int(ids[-1]) in ends:
            ids = ids[:-1]  # nothing is read off the end
        if len(ids) > context:
            raise InputError(
                f"The transcript of {one.name} has {len(ids)} tokens with its prompt; the model reads "
                f"{context}. Shorten it, or cut the recording."
            )
        real = torch.ones(len(ids), dtype=torch.bool)
        real[: prompt_length(ids, special) - 1] = include_bos
        rows.append(SpokenRow(one.doc, one.name, one.features, ids, real))
    collate = partial(collate_spoken, dtype=dtype, device=device)
    return Batches(tuple(rows), batch_size, collate, len(rows), join(*notes))


def read_spoken(
    inputs: Any, extractor: Any, shape: tuple[int, int]
) -> tuple[list[Utterance], str | None]:
    """The recordings, and what there is to say of them."""
    if isinstance(inputs, Mapping) and "input_features" in inputs:
        features = check_features(inputs["input_features"], shape)
        targets: list[Any] = [None] * len(features)
        if "decoder_input_ids" in inputs:
            targets = strip_padding(inputs, prefix="decoder_")
            if len(targets) != len(features):
                raise InputError(
                    f"input_features has {len(features)} rows, decoder_input_ids {len(targets)}."
                )
        pairs = enumerate(zip(features, targets, strict=True))
        return [Utterance(i, f"recording {i}", *pair) for i, pair in pairs], None
    audio, targets = split_pairs(inputs)
    found = read_items(audio, rate_of(extractor))
    features, found = extract(found, extractor, shape)
    every = zip(found.item, found.names, features, strict=True)
    return [Utterance(*one, targets[one[0]]) for one in every], found.note


def split_pairs(inputs: Any) -> tuple[list[Any], list[Any]]:
    """Recordings and transcripts of any accepted input."""
    pairs = [item if is_pair(item) else (item, None) for item in split_audio(inputs)]
    targets = [None if target is None else one_document(target) for _, target in pairs]
    return [audio for audio, _ in pairs], targets


def is_pair(item: Any) -> bool:
    """A recording in any form is no tuple; a list of two files is no recording with its transcript."""
    if not isinstance(item, tuple):
        return False
    if len(item) != 2:
        raise InputError(
            f"A recording with its transcript is a pair (audio, transcript); got {len(item)} things."
        )
    return True


def extract(
    found: Recordings, extractor: Any, shape: tuple[int, int]
) -> tuple[list[Tensor], Recordings]:
    """The features of every recording; only what fits into the encoder is read, which is said."""
    wanted = (extractor.feature_size, extractor.nb_max_frames)
    if wanted != shape:
        raise ModelError(
            f"The feature extractor on the model gives {wanted} features; the model reads {shape}. It "
            "belongs to another model."
        )
    features = [
        extractor(wave.numpy(), sampling_rate=found.rate, return_tensors="pt")["input_features"][0]
        for wave in found.waves
    ]
    seconds = extractor.n_samples / found.rate
    long = [
        name
        for name, wave in zip(found.names, found.waves, strict=True)
        if len(wave) > extractor.n_samples
    ]
    note = (
        f"{len(long)} of {len(found)} recordings {was(long)} longer than the {seconds:g} s that the model "
        f"reads at once; what comes after is left out: {listed(long)}."
    )
    return features, with_note(found, note if long else None)


def check_features(features: Any, shape: tuple[int, int]) -> list[Tensor]:
    """Features made before, one tensor a recording."""
    features = torch.as_tensor(features)
    if features.ndim != 3 or not features.is_floating_point() or tuple(features.shape[1:]) != shape:
        raise InputError(
            f"input_features are floats [recording, {shape[0]}, {shape[1]}]; got {features.dtype} of "
            f"shape {tuple(features.shape)}."
        )
    if not len(features):
        raise InputError("Got no recordings.")
    if not bool(torch.isfinite(features).all()):
        raise InputError("input_features hold NaN or infinite values.")
    return list(features.detach().cpu().clone())


def target_ids(
    target: Any, index: int, tokenizer: Any, vocabulary: int, prompt: Sequence[int]
) -> Int[Tensor, " pos"]:
    """What the decoder reads. Whisper writes its texts with a space in front."""
    if isinstance(target, str):
        # A recording in which nobody speaks has an empty transcript.
        text = target.strip()
        target = [*prompt, *(encode(f" {text}", index, tokenizer) if text else [])]
    ids = check_ids(target, index, vocabulary)
    if int(ids[0]) != prompt[0]:
        ids = torch.cat([torch.tensor(list(prompt)), ids])
    return ids


def prompt_length(ids: Int[Tensor, " pos"], special: frozenset[int]) -> int:
    """How many special tokens stand in front; at least the start token."""
    for column, token in enumerate(ids.tolist()):
        if token not in special:
            return max(column, 1)
    return len(ids)


def collate_spoken(
    rows: Sequence[SpokenRow], dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """One batch; positions are the decoder's."""
    ids, mask = pad_rows([row.ids for row in rows], device)
    real: Bool[Tensor, "batch pos"] = pad_sequence([row.real for row in rows], batch_first=True)
    return Batch(
        args={
            "input_features": torch.stack([row.features for row in rows]).to(device, dtype),
            "decoder_input_ids": ids,
            "decoder_attention_mask": mask,
        },
        real=real.to(device),
        doc=torch.tensor([row.doc for row in rows], device=device),
        start=torch.zeros(len(rows), dtype=torch.int64, device=device),
        tokens=ids,
    )
