"""Audio files and arrays -> waveforms of one channel at one sampling rate.

    channels         w = their mean
    another rate     w = polyphase resampling by rate / found      (`scipy.signal.resample_poly`)

Accepted: a WAV or FLAC file, a folder (read recursively, in order of name), a list of files, float arrays or
tensors at the model's own rate (1-D one recording, 2-D one a row), and mappings with ``array`` and
``sampling_rate``, alone or in a list. What was resampled, cut or skipped is said in one note.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from satlens.errors import InputError, MissingExtraError
from satlens.models.inputs.tensors import Stacked

RATE = 16_000
"""Hertz; what nearly every speech model reads."""
SUFFIXES = (".wav", ".flac")
SHOWN = 5
"""Names in one message."""
ACCEPTED = (
    "a WAV or FLAC file, a folder of them, a list of files, 1-D float arrays at the model's sampling "
    "rate, or mappings with array and sampling_rate"
)


class UnreadableError(Exception):
    """A file that is there and holds no usable audio; skipped if others do."""


@dataclass(frozen=True)
class InFolder:
    """A file found in a folder, and its path there."""

    path: Path
    name: str


@dataclass(frozen=True, eq=False)
class Recordings:
    """Waveforms, and what was done to get them.

    Attributes:
        waves: float32, one channel, at ``rate``; no memory is shared with what they came from.
        names: of the files (inside a folder: their path in it), or "recording 3".
        item: the place of each among all that were given: the ``doc`` of its states.
        rate: samples a second.
        note: what was resampled, cut or skipped, or None.
    """

    waves: tuple[Float[Tensor, " _sample"], ...]
    names: tuple[str, ...]
    item: tuple[int, ...]
    rate: int
    note: str | None = None

    def __len__(self) -> int:
        return len(self.waves)

    def fixed(self, samples: int) -> Stacked:
        """All at one length: zeros behind the shorter ones, the longer ones cut at the end."""
        long = [i for i, wave in enumerate(self.waves) if len(wave) > samples]
        values = torch.zeros(len(self), samples)
        for row, wave in zip(values, self.waves, strict=True):
            row[: len(wave)] = wave[:samples]
        cut = None
        if long:
            cut = (
                f"{len(long)} of {len(self)} recordings are longer than {samples / self.rate:g} s and were "
                f"cut there: {listed([self.names[i] for i in long])}."
            )
        return Stacked(values, self.names, self.item, join(self.note, cut))


@overload
def read_audio(inputs: Any, *, rate: int = RATE, samples: None = None) -> Recordings: ...


@overload
def read_audio(inputs: Any, *, rate: int = RATE, samples: int) -> Stacked: ...


def read_audio(
    inputs: Any, *, rate: int = RATE, samples: int | None = None
) -> Recordings | Stacked:
    """Waveforms of whatever holds audio.

    Args:
        inputs: see the module.
        rate: samples a second that the model reads; anything else is resampled.
        samples: cut or pad every recording to this many.

    Returns:
        `Recordings`; with ``samples`` their `Stacked` values ``[recording, samples]``, as
        `satlens.models.tensor_batches` takes them.

    Raises:
        InputError: text, a missing file, an empty folder, NaN, arrays that are no waveforms, or no
            readable file among all. MissingExtraError: soundfile is not installed.

    Example:
        >>> second = torch.linspace(-1, 1, 16_000)
        >>> [len(wave) for wave in read_audio([second, second[:8_000]]).waves]
        [16000, 8000]
        >>> read_audio({"array": second, "sampling_rate": 8_000}).note
        '1 of 1 recordings had another sampling rate and was resampled to 16000 Hz: recording 0 (8000 Hz).'
    """
    found = read_items(split_audio(inputs), rate)
    return found if samples is None else found.fixed(samples)


def split_audio(inputs: Any) -> list[Any]:
    """The recordings of any accepted input, not yet read."""
    if isinstance(inputs, str | Path):
        path = existing(inputs)
        return in_folder(path) if path.is_dir() else [path]
    if isinstance(inputs, Mapping):
        return [inputs]
    if isinstance(inputs, Tensor | ndarray):
        if inputs.ndim == 1:
            return [inputs]
        if inputs.ndim == 2 and len(inputs):
            return list(inputs)
        raise InputError(
            f"Got an array of shape {tuple(inputs.shape)}; a waveform is 1-D, a batch of them 2-D, one "
            "a row."
        )
    if isinstance(inputs, Sequence) and not isinstance(inputs, bytes):
        if not inputs:
            raise InputError(f"Got no recordings (an empty list); pass {ACCEPTED}.")
        return list(inputs)
    raise InputError(f"An audio model cannot read {type(inputs).__name__}; pass {ACCEPTED}.")


def existing(name: str | Path) -> Path:
    """The path, if something is there; text given to an audio model ends here."""
    path = Path(name).expanduser()
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name too long or with a zero byte: no file has it
        there = False
    if not there:
        shown = str(name) if len(str(name)) <= 60 else f"{str(name)[:57]}..."
        raise InputError(
            f"There is no file or folder {shown!r}. An audio model reads no text; pass {ACCEPTED}."
        )
    return path


def in_folder(folder: Path) -> list[InFolder]:
    """The WAV and FLAC files of a folder and the folders in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    audio = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not audio:
        others = listed([str(path.relative_to(folder)) for path in files])
        found = f"{len(files)} other files: {others}" if files else "it is empty"
        raise InputError(f"The folder {folder} has no WAV or FLAC files ({found}).")
    return [InFolder(path, path.relative_to(folder).as_posix()) for path in audio]


def read_items(items: Sequence[Any], rate: int) -> Recordings:
    """Every recording that can be read, in order; unreadable files are named and left out."""
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise InputError(f"rate must be a whole number of samples a second, got {rate!r}.")
    waves, names, kept, skipped, resampled = [], [], [], [], []
    for index, item in enumerate(items):
        name, wave, found = f"recording {index}", item, rate
        try:
            if isinstance(item, Mapping):
                wave, found = from_mapping(item, index)
            elif isinstance(item, InFolder):
                name = item.name
                wave, found = from_file(item.path)
            elif isinstance(item, str | Path):
                name = Path(item).name
                wave, found = from_file(existing(item))
        except UnreadableError as cause:
            skipped.append(f"{name} ({cause})")
            continue
        wave = check_wave(wave, name)
        if found != rate:
            resampled.append(f"{name} ({found} Hz)")
            wave = resample(wave, found, rate)
        waves.append(wave)
        names.append(name)
        kept.append(index)
    if not waves:
        raise InputError(f"None of {len(items)} audio files can be read: {listed(skipped)}.")
    note = join(
        skipped
        and f"{len(skipped)} of {len(items)} audio files cannot be read and "
        f"{was(skipped)} skipped: {listed(skipped)}.",
        resampled
        and f"{len(resampled)} of {len(waves)} recordings had another sampling rate and "
        f"{was(resampled)} resampled to {rate} Hz: {listed(resampled)}.",
    )
    return Recordings(tuple(waves), tuple(names), tuple(kept), rate, note)


def from_mapping(fields: Mapping[str, Any], index: int) -> tuple[Any, int]:
    """The array and its rate, as datasets give them."""
    if "array" not in fields or "sampling_rate" not in fields:
        raise InputError(
            f"Recording {index} is a mapping with the keys {sorted(map(str, fields))}; array and "
            "sampling_rate are needed."
        )
    rate = fields["sampling_rate"]
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1:
        raise InputError(
            f"The sampling_rate of recording {index} must be a whole number, got {rate!r}."
        )
    return fields["array"], int(rate)


def from_file(path: Path) -> tuple[Float[Tensor, " sample"], int]:
    """The mean of a file's channels, and its rate."""
    soundfile = import_soundfile()
    if path.is_dir():
        raise InputError(f"{path} is a folder; pass it alone, or the files in it.")
    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as cause:
        reason = str(cause).rsplit(": ", 1)[-1].strip(" .") or type(cause).__name__
        raise UnreadableError(reason) from cause
    if not len(samples):
        raise UnreadableError("no samples")
    if not np.isfinite(samples).all():
        raise UnreadableError("NaN or infinite samples")
    return torch.from_numpy(samples.mean(1)).float(), int(rate)


def import_soundfile() -> Any:
    """The package that reads files; arrays need none."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its C library is missing
        raise MissingExtraError(
            'Audio files need the package soundfile: pip install "satlens[audio]".'
        ) from error
    return soundfile


def check_wave(wave: Any, name: str) -> Float[Tensor, " sample"]:
    """A copy as float32; refused if it is no waveform."""
    if not isinstance(wave, Tensor | ndarray):
        raise InputError(f"{name.capitalize()} is {type(wave).__name__}; pass {ACCEPTED}.")
    wave = torch.as_tensor(np.array(wave) if isinstance(wave, ndarray) else wave).detach().cpu()
    if wave.ndim != 1 or not wave.numel():
        raise InputError(
            f"{name.capitalize()} has shape {tuple(wave.shape)}; a waveform is 1-D and not empty "
            "(take the mean of its channels first)."
        )
    if not wave.is_floating_point():
        raise InputError(
            f"{name.capitalize()} holds {wave.dtype}; a waveform is float, from -1 to 1 (divide 16-bit "
            "samples by 32768)."
        )
    if not bool(torch.isfinite(wave).all()):
        raise InputError(f"{name.capitalize()} holds NaN or infinite values.")
    return wave.to(torch.float32, copy=True)


def rate_of(extractor: Any) -> int:
    """The sampling rate of the feature extractor on a model."""
    rate = getattr(extractor, "sampling_rate", None)
    if rate is None:
        raise InputError(
            "The model has no processor to read audio with. Set model.processor = "
            "transformers.AutoProcessor.from_pretrained(folder), or pass a mapping with its own inputs "
            "(input_features for Whisper, input_values for HuBERT and wav2vec2)."
        )
    return int(rate)


def resample(wave: Float[Tensor, " sample"], found: int, rate: int) -> Float[Tensor, " other"]:
    """The same sound at another rate."""
    from scipy.signal import resample_poly

    common = gcd(found, rate)
    again = resample_poly(wave.double().numpy(), rate // common, found // common)
    return torch.from_numpy(again).float()


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def was(things: Sequence[Any]) -> str:
    """The verb."""
    return "was" if len(things) == 1 else "were"


def join(*notes: Any) -> str | None:
    """The notes that say something, as one."""
    return " ".join(note for note in notes if note) or None


def with_note(found: Recordings, note: str | None) -> Recordings:
    """The same with one more thing to say."""
    return replace(found, note=join(found.note, note))
