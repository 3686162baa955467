"""`run_audit`: one pass over the corpus with the model, one with each untrained model, the tables.

    states of a batch -> events (kept, and written as they come) -> nulls (from the same states)

The order statistics read the events alone; the page and the tables read the results alone.
"""

import json
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from satlens import order
from satlens.errors import InputError
from satlens.files import write_whole
from satlens.lenses import LogitLens
from satlens.models import ResidualModel, untrained, wrap
from satlens.nulls import NullDraws, NullSampler
from satlens.nulls.block import KINDS as NULL_KINDS
from satlens.report.audit import figures
from satlens.report.audit.tables import summary
from satlens.report.validate import plain, write_results
from satlens.runs.audit_results import found
from satlens.runs.begin import begin
from satlens.runs.folder import HEATMAP, PAGE, RESULTS, output_folder
from satlens.runs.heatmap import heatmap
from satlens.runs.reading import Reading, null_documents
from satlens.runs.results import assemble, save_figures, timed
from satlens.runs.settings import AuditSettings
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.tables import events_writer


def run_audit(
    settings: AuditSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Audit a model on a corpus, write it to the folder ``out``, and return the tables as text.

    Writes ``report.html`` (one page over all that the folder holds, opens offline), ``results.json``
    (keys: `report/audit/schema.json`), ``events.parquet`` (one row a token), ``settings.yaml`` (repeats
    the run), ``heatmap.json`` (texts for the page) and, with matplotlib, ``figures/``; all of them or
    nothing. A probe and a patch of the same model in ``out`` are kept.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

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
    out = Path(out)
    begun = begin(settings, out, model, overwrite)
    model, said, reading = begun.model, begun.said, begun.reading
    chosen = null_documents(reading, settings.null_tokens)
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite, said) as folder:
        with timed("untrained", seconds):
            # First: a model that has no untrained twin is told so before the long pass.
            others = untrained_events(model, reading, settings, progress)
        with timed("detect and nulls", seconds):
            path = folder / "events.parquet"
            events, nulls = trained(model, reading, chosen, settings, path, progress)
            drawn = nulls.finish()
        with timed("order", seconds):
            report = order.report(events, drawn, untrained=others, seed=settings.seed)
            baseline = order.report(others[0], seed=settings.seed)
        numbers = found(reading, chosen, report, baseline, exchanged="exchanged" in drawn)
        results = assemble(settings, said, reading, seconds, numbers)
        write_results(results, folder / RESULTS)
        documents = plain(heatmap(events, model, reading))
        write_whole(folder / HEATMAP, json.dumps(documents, allow_nan=False))
        save_figures(figures.save_figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"


def trained(
    model: ResidualModel,
    reading: Reading,
    chosen: Set[int],
    settings: AuditSettings,
    path: Path,
    progress: bool,
) -> tuple[SaturationEvents, "StateNulls"]:
    """The model's events with trajectories, written without them, and the nulls, in one pass.

    ``chosen`` are the documents that the nulls are drawn for.
    """
    lens = LogitLens(model)
    nulls = StateNulls(lens, chosen, settings, progress)
    parts = []
    with events_writer(path) as writer:
        for states, events in stream(
            model, reading.batches, k=settings.k, lens=lens, trajectory=True, progress=progress
        ):
            writer.append(replace(events, top=None))
            nulls.update(states.resid, events)
            parts.append(events)
    return in_order(parts), nulls


class StateNulls:
    """The nulls that are made from states. "exchanged" is given up where a token has no donor.

    A donor is a token of another document that ends in another token: of one document, or of images that a
    classifier all calls the same, there is none.

    Attributes:
        chosen: the documents that nulls are drawn for.
    """

    def __init__(
        self, lens: LogitLens, chosen: Set[int], settings: AuditSettings, progress: bool
    ) -> None:
        kinds = [tuple(kind for kind in NULL_KINDS if kind != "exchanged"), ("exchanged",)]
        self.samplers = [
            NullSampler(
                lens, kinds=own, draws=settings.draws, seed=settings.seed, progress=progress
            )
            for own in kinds
        ]
        self.chosen = list(chosen)

    def update(self, resid: Float[Tensor, "layer token d"], events: SaturationEvents) -> None:
        """Take the states of one batch, and the events found in them."""
        own = np.isin(events.doc, self.chosen)
        if own.any():
            states, part = resid[:, torch.from_numpy(own).to(resid.device)], events[own]
            self._each(lambda sampler: sampler.update(states, part))

    def finish(self) -> dict[str, NullDraws]:
        """The draws by kind, in the order of `satlens.nulls.block.KINDS`."""
        found: dict[str, NullDraws] = {}
        self._each(lambda sampler: found.update(sampler.finish()))
        return {kind: found[kind] for kind in NULL_KINDS if kind in found}

    def _each(self, ask: Callable[[NullSampler], None]) -> None:
        for sampler in list(self.samplers):
            try:
                ask(sampler)
            except InputError:
                if sampler.kinds != ("exchanged",):
                    raise
                self.samplers.remove(sampler)


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
