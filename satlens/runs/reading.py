"""What a run reads of a corpus: whole windows, in order, up to a number of tokens."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from satlens.errors import InputError
from satlens.models import Batches, ResidualModel, mask_documents
from satlens.report.words import count
from satlens.runs.corpora import KINDS
from satlens.runs.settings import AnyKindSettings, RunSettings
from satlens.survey.corpus import Corpus

TOKENISED = ("text", "masked text", "pairs")
"""What takes a tokenizer to read."""


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

    @property
    def document(self) -> str:
        """What one document is called."""
        return KINDS[self.corpus.reads].document

    @property
    def position(self) -> str:
        """What one position that counts is called; a frame is one of several of a recording."""
        alone = self.batches.n_tokens == self.batches.n_documents
        if self.corpus.reads == "recordings" and alone:
            return "position"
        return KINDS[self.corpus.reads].position


def read(model: ResidualModel, corpus: Corpus, settings: RunSettings) -> Reading:
    """The windows of the corpus, in order, until ``max_tokens`` positions are reached.

    Raises:
        InputError: a text and no tokenizer, or a document that the model cannot read.
    """
    if model.reads in TOKENISED and model.tokenizer is None:
        raise InputError(
            f"{model.name} has no tokenizer, and satlens {settings.verb} reads text: put its tokenizer files "
            "into the model's folder, or call satlens.detect with token ids. A model of your own that reads "
            'something else says so, as in ResidualModel(..., reads="recordings").'
        )
    documents, notes = list(corpus.documents), list(corpus.notes)
    if isinstance(settings, AnyKindSettings) and model.reads == "masked text":
        share, seed = settings.mask_share, settings.seed
        documents = mask_documents(model, documents, share=share, seed=seed).ids
        notes.append(
            f"{100 * share:g} % of each document's tokens are masked (seed {seed}), and they count alone."
        )
    of_files = model.reads not in TOKENISED
    if of_files:  # each has a position or more: no use to open more of them
        documents = documents[: settings.max_tokens]
    every = model.batches(documents, settings.batch_size)
    batches = every.first(settings.max_tokens)
    windows = Counter(row.doc for row in batches.rows)
    split = sum(number > 1 for number in windows.values())
    if of_files and every.note:  # that of texts tells of split documents, as `_notes` does
        notes.append(every.note.replace(f"{Path(settings.corpus)}{os.sep}", ""))
    notes += _notes(model, corpus, settings, every, windows)
    return Reading(corpus, batches, split, tuple(notes))


def _notes(
    model: ResidualModel,
    corpus: Corpus,
    settings: RunSettings,
    every: Batches,
    windows: Counter[int],
) -> list[str]:
    """What was left out, and what was cut."""
    notes, noun = [], KINDS[corpus.reads].document
    total = len(corpus.documents)
    if sum(windows.values()) < len(every.rows) or settings.max_tokens < total:
        notes.append(
            f"Read the first {len(windows):,} of {total:,} {noun}s: they reach max_tokens = "
            f"{settings.max_tokens:,}."
        )
    if split := sum(number > 1 for number in windows.values()):
        notes.append(
            f"{count(split, noun)} longer than the context of {model.context} tokens, read in "
            "windows; a window does not see the one before."
        )
    if len(windows) < 2:
        more = "A --separator cuts a long text into documents."
        more = more if "text" in corpus.reads else f"Give several {noun}s."
        notes.append(
            f"One {noun} only: {noun}s are the unit of every interval, so there are none. {more}"
        )
    return notes


def null_documents(reading: Reading, tokens: int) -> frozenset[int]:
    """The first documents, up to this many tokens, which the nulls are drawn for; two at least."""
    found = {row.doc for row in reading.batches.first(tokens).rows}
    every = list(dict.fromkeys(row.doc for row in reading.batches.rows))
    if len(every) > 1:  # a path is exchanged with another document's
        found |= set(every[:2])
    return frozenset(found)
