"""A few documents as the page's heatmap shows them: text in place of ids, pictures, waveforms."""

from math import prod
from os.path import commonpath
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from satlens.models import ResidualModel, class_names
from satlens.models.inputs.audio import RATE, resample
from satlens.report.detect_view import token_texts
from satlens.runs.media import peaks, sound, thumbnail
from satlens.runs.reading import Reading
from satlens.saturation.events import SaturationEvents

DOCUMENTS = 3
CARDS = 12
"""Documents of one position, each of which takes little room."""
POSITIONS = 60
FRAMES = 100
"""Positions along a waveform."""
PEAKS_A_FRAME = 5
LONGEST = 600
"""Characters of the text that stands above a document."""


def heatmap(
    events: SaturationEvents, model: ResidualModel, reading: Reading
) -> list[dict[str, Any]]:
    """The first documents, layer by position: what is read, the top k per layer, the layers.

    Images, and recordings with one answer each, are taken evenly from all that were read: in a folder the
    first ones are often of one class.

    Args:
        events: detected with ``trajectory=True``.
        model: whose tokenizer turns ids into text; else the names of its classes, else ``#id``.
        reading: what was read; document ``doc`` is ``reading.corpus.documents[doc]``.

    Returns:
        Entries as `satlens.report.heatmap.document` takes them.
    """
    docs = np.unique(events.doc)
    chosen = docs[:DOCUMENTS]
    if len(docs) == len(events) and model.reads in ("images", "recordings"):
        places = np.linspace(0, len(docs) - 1, min(CARDS, len(docs)))
        chosen = docs[places.round().astype(int)]
    names = _names(model.reads, reading)
    return [_document(events[events.doc == doc], int(doc), model, reading, names) for doc in chosen]


def _document(
    events: SaturationEvents, doc: int, model: ResidualModel, reading: Reading, names: list[str]
) -> dict[str, Any]:
    media = _media(model, reading, doc, len(events), names[doc])
    frame, title = media.get("wave", {}).get("frame"), names[doc]
    if frame and len(events) > FRAMES:
        title += f", the first {FRAMES * frame:.3g} s"
    events = events[: FRAMES if frame else POSITIONS]
    top = cast(ndarray, events.top)
    n, n_layers, k = top.shape
    shown = output_texts(model, top.ravel())
    rows = [shown[i : i + k] for i in range(0, len(shown), k)]
    read = token_texts(model.tokenizer, events.input.tolist())
    return {
        "doc": doc,
        "title": title,
        "tokens": [_time(frame * pos, frame) for pos in events.pos] if frame else read,
        "pos": events.pos.tolist(),
        "top": [rows[i * n_layers : (i + 1) * n_layers] for i in range(n)],
        "layer": events.layer.tolist(),
        **media,
    }


def _time(seconds: float, frame: float) -> str:
    """Seconds, with digits enough to tell one frame from the next."""
    return f"{seconds:.{2 if frame >= 0.01 else 4}f}"


def output_texts(model: ResidualModel, ids: Int[ndarray, " output"]) -> list[str]:
    """What a model's outputs stand for: tokens, pieces of its processor, classes; else ``#id``."""
    if model.tokenizer is not None:
        return token_texts(model.tokenizer, ids.tolist())
    pieces = getattr(getattr(model.host, "processor", None), "tokenizer", None)
    if pieces is not None:
        return [str(piece) for piece in pieces.convert_ids_to_tokens(ids.tolist())]
    names = class_names(model, range(model.n_outputs))
    if any(name == f"#{i}" for i, name in enumerate(names)):  # a default of two names, say
        names = [f"#{i}" for i in range(model.n_outputs)]
    return [names[i] for i in ids.tolist()]


def _names(reads: str, reading: Reading) -> list[str]:
    """A title for every document: a file by its path inside the corpus, else a number."""
    paths = [_path(document) for document in reading.corpus.documents]
    folders = {path.parent for path in paths if path}
    root = commonpath(folders) if folders else ""
    word = "pair" if reads == "pairs" else "document"
    return [
        path.relative_to(root).as_posix() if path else f"{word} {doc}"
        for doc, path in enumerate(paths)
    ]


def _path(document: Any) -> Path | None:
    """The file of an image or a recording, alone or with its transcript."""
    one = document[0] if isinstance(document, tuple) else document
    return one if isinstance(one, Path) else None


def _media(
    model: ResidualModel, reading: Reading, doc: int, positions: int, name: str
) -> dict[str, Any]:
    """What is seen or heard of a document, or the text that it is answered from."""
    document = reading.corpus.documents[doc]
    path = _path(document)
    if model.reads in ("pairs", "masked text"):
        row = next(row for row in reading.batches.rows if row.doc == doc)
        ids = row.ids if row.source is None else row.source
        return {"text": model.tokenizer.decode(ids.tolist())[:LONGEST]} if model.tokenizer else {}
    if path is None:
        return {}
    if model.reads == "images":
        picture = thumbnail(path, name)
        return {"picture": picture} if picture else {}
    found = sound(path)
    if found is None:
        return {}
    wave, rate = found
    if model.reads == "recordings" and positions > 1:
        return {"wave": _along(model, wave, rate, positions) | {"alt": name}}
    shown: dict[str, Any] = {"peaks": peaks(wave), "seconds": len(wave) / rate, "alt": name}
    read = _seconds_read(model, reading, doc, wave, rate)
    return {"wave": shown | ({"read": read} if read and read < shown["seconds"] else {})}


def _along(
    model: ResidualModel, wave: Float[Tensor, " sample"], rate: int, positions: int
) -> dict[str, Any]:
    """The part of a waveform that the frames shown begin in."""
    n, frame = min(positions, FRAMES), _frame(model, len(wave) / rate / positions)
    part = torch.zeros(round(n * frame * rate))
    heard = wave[: len(part)]
    part[: len(heard)] = heard
    return {"peaks": peaks(part, n * PEAKS_A_FRAME), "seconds": n * frame, "frame": frame}


def _frame(model: ResidualModel, mean: float) -> float:
    """Seconds from one frame to the next: the strides of the convolutions, else the mean."""
    config = getattr(getattr(model.host, "original_model", model.host), "config", None)
    strides = getattr(config, "conv_stride", None)
    return prod(strides) / _rate(model) if strides else mean


def _extractor(model: ResidualModel) -> Any:
    processor = getattr(model.host, "processor", None)
    return getattr(processor, "feature_extractor", processor)


def _rate(model: ResidualModel) -> int:
    return getattr(_extractor(model), "sampling_rate", None) or RATE


def _seconds_read(
    model: ResidualModel, reading: Reading, doc: int, wave: Float[Tensor, " sample"], rate: int
) -> float | None:
    """How much of a recording the model read, where that is known: what its row, or its encoder, holds."""
    samples = getattr(_extractor(model), "n_samples", None)
    if model.reads == "speech":
        return samples / _rate(model) if samples else None
    row = next((row for row in reading.batches.rows if row.doc == doc), None)
    value = getattr(row, "value", None)
    if not isinstance(value, Tensor) or value.ndim != 1:
        return None
    heard = wave if rate == RATE else resample(wave, rate, RATE)
    n = min(len(value), len(heard))
    return len(value) / RATE if torch.allclose(value[:n].float(), heard[:n]) else None
