"""`run_audit`: one pass over the corpus with the model, one with each untrained model, the tables.

    states of a batch -> events (kept, and written as they come) -> nulls (from the same states)

The order statistics read the events alone; the page and the tables read the results alone.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from satlens import order
from satlens.errors import MissingExtraError
from satlens.lenses import LogitLens
from satlens.models import ResidualModel, load_model, untrained, wrap
from satlens.nulls import NullDraws, NullSampler
from satlens.nulls.block import KINDS as NULL_KINDS
from satlens.report.figures import save_figures
from satlens.report.page import write_page
from satlens.report.tables import summary
from satlens.report.validate import write_results
from satlens.runs.heatmap import heatmap
from satlens.runs.reading import Reading, read
from satlens.runs.results import assemble
from satlens.runs.settings import AuditSettings, check_output, output_folder
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.tables import events_writer
from satlens.survey.corpus import read_corpus

logger = logging.getLogger("satlens")


def run_audit(
    settings: AuditSettings, out: str | Path, *, overwrite: bool = False, progress: bool = False
) -> str:
    """Audit a model on a corpus, write the folder ``out``, and return the tables as text.

    Writes ``report.html`` (one page, opens offline), ``results.json`` (keys: `report/schema.json`),
    ``events.parquet`` (one row a token), ``settings.yaml`` (repeats the run) and, with matplotlib,
    ``figures/``; all of them or nothing.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     small = AuditSettings("tiny", max_tokens=400, null_tokens=200, untrained_seeds=1)
        ...     text = run_audit(small, Path(folder, "run"))
        >>> text.splitlines()[0].startswith("tiny: 16 layers, width 128, on bundled")
        True
    """
    check_output(Path(out).absolute(), settings, overwrite)
    corpus = read_corpus(settings.corpus, separator=settings.separator)
    model = wrap(load_model(settings.model))
    reading = read(model, corpus, settings)
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite) as folder:
        with timed("detect and nulls", seconds):
            events, nulls = trained(model, reading, settings, folder / "events.parquet", progress)
        with timed("untrained", seconds):
            others = untrained_events(model, reading, settings, progress)
        with timed("order", seconds):
            report = order.report(events, nulls, untrained=others, seed=settings.seed)
            baseline = order.report(others[0], seed=settings.seed)
        results = assemble(model, reading, settings, report, baseline, seconds)
        write_results(results, folder / "results.json")
        write_page(results, heatmap(events, model.tokenizer), folder / "report.html")
        try:
            save_figures(results, folder / "figures", formats=("png", "pdf"))
        except MissingExtraError as missing:
            logger.info("No figures beside the page: %s", missing)
    return f"{summary(results)}\n\nThe page: {Path(out) / 'report.html'}"


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note the wall-clock seconds spent inside."""
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began


def trained(
    model: ResidualModel, reading: Reading, settings: AuditSettings, path: Path, progress: bool
) -> tuple[SaturationEvents, dict[str, NullDraws]]:
    """The model's events with trajectories, written without them, and the nulls, in one pass."""
    lens = LogitLens(model)
    kinds = NULL_KINDS
    if reading.batches.n_documents == 1:  # nobody to exchange a path with
        kinds = tuple(kind for kind in NULL_KINDS if kind != "exchanged")
    sampler = NullSampler(
        lens.scores, kinds=kinds, draws=settings.draws, seed=settings.seed, progress=progress
    )
    chosen = list(reading.null_documents)
    parts = []
    with events_writer(path) as writer:
        for states, events in stream(
            model, reading.batches, k=settings.k, lens=lens, trajectory=True, progress=progress
        ):
            writer.append(replace(events, top=None))
            in_nulls = np.isin(events.doc, chosen)
            if in_nulls.any():
                sampler.update(states.resid[:, torch.from_numpy(in_nulls)], events[in_nulls])
            parts.append(events)
    return in_order(parts), sampler.finish()


def untrained_events(
    model: ResidualModel, reading: Reading, settings: AuditSettings, progress: bool
) -> list[SaturationEvents]:
    """Events of the same tokens in models of the same shape that never learned anything."""
    found = []
    for index in range(settings.untrained_seeds):
        seed = settings.seed + index
        fresh = replace(wrap(untrained(model, seed)), name=f"{model.name} untrained, seed {seed}")
        parts = [
            events
            for _, events in stream(
                fresh, reading.batches, k=settings.k, trajectory=index == 0, progress=progress
            )
        ]
        found.append(in_order(parts))
    return found


def in_order(parts: list[SaturationEvents]) -> SaturationEvents:
    """One table in order of document and position."""
    events = SaturationEvents.concat(parts)
    return events[np.lexsort((events.pos, events.doc))]
