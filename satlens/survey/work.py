"""One worker: a model and a corpus, loaded once; a shard in, its files and its record out.

Every engine runs this and nothing else, so that a shard has the same bytes whoever makes it.
"""

import dataclasses
import logging
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from satlens.errors import InputError, ModelError
from satlens.models import Batches, ResidualModel, load_model, weights_sha256, wrap
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.survey.nulls import ShardNulls, nulls_table
from satlens.survey.plan import Shard, shard_slots
from satlens.survey.settings import DTYPES, SurveySettings
from satlens.survey.store import (
    events_table,
    null_path,
    record_path,
    shard_path,
    write_json,
    write_table,
)

logger = logging.getLogger("satlens")


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker has to know: plain values, so that any engine can send it.

    Attributes:
        settings: of the survey, as `SurveySettings.to_dict` gives them.
        weights_sha256: of the model that the survey was planned with.
        corpus_sha256: of the corpus.
        out: the folder.
    """

    settings: Mapping[str, Any]
    weights_sha256: str
    corpus_sha256: str
    out: str


def load(settings: SurveySettings, device: str | None = None) -> ResidualModel:
    """The model of a survey.

    Raises:
        ModelError: it cannot be loaded, or reads no text.
    """
    host = load_model(
        settings.model, device=device or settings.device, dtype=DTYPES[settings.dtype]
    )
    model = wrap(host)
    if model.tokenizer is None:
        raise ModelError(
            f"{model.name} has no tokenizer, and a survey reads text: put its tokenizer files into the "
            "model's folder."
        )
    return model


@contextmanager
def on_threads(threads: int) -> Generator[None, None, None]:
    """Torch on this many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Worker:
    """Makes shards; see `run`."""

    def __init__(self, job: Job, model: ResidualModel | None = None) -> None:
        self.job, self.out = job, Path(job.out)
        self.settings = SurveySettings(**job.settings)
        self.source = self.settings.source()
        self.model = load(self.settings) if model is None else model
        found = job.weights_sha256 if model is not None else weights_sha256(self.model)
        if found != job.weights_sha256:
            raise ModelError(
                f"A worker loaded other weights for {self.settings.model} ({found[:12]}) than the survey "
                f"was planned with ({job.weights_sha256[:12]}). Every machine needs the same model."
            )

    def run(self, shard: Shard) -> dict[str, Any]:
        """Detect in the documents of one shard, write its files, give its record.

        Raises:
            InputError: the corpus was changed. OutputError: the files cannot be written.
        """
        began = time.monotonic()
        with on_threads(self.settings.threads), _without_notes():
            return self._run(shard, began)

    def _run(self, shard: Shard, began: float) -> dict[str, Any]:
        texts, ids, skipped = [], [], []
        for number, slot in shard_slots(self.source, shard):
            if slot.text is None:
                skipped.append({"document": number, "place": slot.place, "reason": slot.reason})
            else:
                texts.append(slot.text)
                ids.append(number)
        batches, without = self._batches(texts)
        for index in reversed(without):
            reason = "no tokens: the tokenizer makes nothing of it"
            skipped.append({"document": ids.pop(index), "place": "", "reason": reason})
        numbers = np.array(ids, dtype=np.int64)
        events, nulls, note = self._detect(batches, shard.index)
        settings = {
            "model": self.model.name, "k": self.settings.k, "shard": shard.index,
            "weights_sha256": self.job.weights_sha256, "corpus_sha256": self.job.corpus_sha256,
        }  # fmt: skip
        found = dataclasses.replace(events, doc=numbers[events.doc])
        record = {
            "shard": shard.index, "first": shard.first, "documents": shard.documents, "read": len(ids),
            "tokens": len(events), "windows": 0 if batches is None else len(batches.rows),
            "skipped": sorted(skipped, key=lambda one: one["document"]),
            "events": write_table(events_table(found, settings), shard_path(self.out, shard.index)),
            "nulls": None,
        }  # fmt: skip
        if nulls:
            table = nulls_table(nulls, numbers)
            wrote = write_table(table, null_path(self.out, shard.index))
            record["nulls"] = {"tokens": len(next(iter(nulls.values())).events), **wrote}
        record |= {"note": note, "seconds": round(time.monotonic() - began, 3)}
        write_json(record_path(self.out, shard.index), record)
        return record

    def _batches(self, texts: list[str]) -> tuple[Batches | None, list[int]]:
        """The texts as batches, and which of them have no tokens."""
        without: list[int] = []
        try:
            return (self.model.batches(texts, self.settings.batch_size) if texts else None), without
        except InputError:
            for index, text in enumerate(texts):
                try:
                    self.model.batches([text], 1)
                except InputError:
                    without.append(index)
            if not without:
                raise
        kept = [text for index, text in enumerate(texts) if index not in set(without)]
        return (self.model.batches(kept, self.settings.batch_size) if kept else None), without

    def _detect(
        self, batches: Batches | None, index: int
    ) -> tuple[SaturationEvents, dict[str, Any], str]:
        """The events in order of document and position, the nulls, and what could not be drawn."""
        k, model = self.settings.k, self.model
        if batches is None:
            none = np.zeros((0, k), dtype=np.int16)
            return SaturationEvents(none, none, none[:, 0], none[:, 0], model.n_layers), {}, ""
        nulls = ShardNulls(model, batches, self.settings.null_tokens)
        parts = []
        for states, events in stream(model, batches, k=k):
            nulls.update(states.resid, events)
            parts.append(events)
        events = SaturationEvents.concat(parts)
        seed = int(np.random.SeedSequence([self.settings.seed, index]).generate_state(1)[0])
        drawn, note = nulls.draw(self.settings.null_draws, seed)
        return events[np.lexsort((events.pos, events.doc))], drawn, note


@contextmanager
def _without_notes() -> Generator[None, None, None]:
    """Documents longer than the context are counted in the record: not one more warning a shard."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
