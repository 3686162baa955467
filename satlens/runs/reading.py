"""What a run reads of a corpus: whole windows, in order, up to a number of tokens."""

from dataclasses import dataclass

from satlens.errors import InputError
from satlens.models import Batches, ResidualModel
from satlens.report.words import count
from satlens.runs.settings import RunSettings
from satlens.survey.corpus import Corpus


@dataclass(frozen=True)
class Reading:
    """The rows to read, and what was left out.

    Attributes:
        batches: the windows that are read, as `satlens.saturation.detect.stream` takes them.
        split: documents of more than one window.
        notes: what a reader must know of the choice.
    """

    corpus: Corpus
    batches: Batches
    split: int
    notes: tuple[str, ...]


def read(model: ResidualModel, corpus: Corpus, settings: RunSettings) -> Reading:
    """The windows of the corpus, in order, until ``max_tokens`` positions are reached.

    Raises:
        InputError: the model reads no text, or a document has no tokens.
    """
    if model.tokenizer is None:
        raise InputError(
            f"{model.name} has no tokenizer, and satlens {settings.verb} reads text: put its tokenizer files "
            "into the model's folder, or call satlens.detect with token ids."
        )
    every = model.batches(list(corpus.documents), settings.batch_size)
    batches = every.first(settings.max_tokens)
    windows: dict[int, int] = {}
    for row in batches.rows:
        windows[row.doc] = windows.get(row.doc, 0) + 1
    split = sum(count > 1 for count in windows.values())
    notes = []
    if len(batches.rows) < len(every.rows):
        notes.append(
            f"Read {len(windows):,} of {len(corpus.documents):,} documents: they reach max_tokens = "
            f"{settings.max_tokens:,}."
        )
    if split:
        notes.append(
            f"{count(split, 'document')} longer than the context of {model.context} tokens, read in "
            "windows; a window does not see the one before."
        )
    if len(windows) < 2:
        notes.append(
            "One document only: documents are the unit of every interval, so there are none. A "
            "--separator cuts a long text into documents."
        )
    return Reading(corpus, batches, split, tuple(notes))


def null_documents(reading: Reading, tokens: int) -> frozenset[int]:
    """The first documents, up to this many tokens, which the nulls are drawn for; two at least."""
    found = {row.doc for row in reading.batches.first(tokens).rows}
    every = list(dict.fromkeys(row.doc for row in reading.batches.rows))
    if len(every) > 1:  # a path is exchanged with another document's
        found |= set(every[:2])
    return frozenset(found)
