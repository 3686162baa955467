"""`run_shortcut`: what early layers know of the final output through each lens, with every control."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from satlens import lenses
from satlens.models import Batches, ResidualModel
from satlens.report.shortcut import figures as shortcut_figures
from satlens.report.shortcut.tables import summary
from satlens.resampling import DRAWS, bootstrap, by_document
from satlens.runs.begin import Begun
from satlens.runs.settings import ShortcutSettings
from satlens.runs.verb import Answer, ask_and_write
from satlens.saturation.detect import stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.ranking import check_k

THROUGH = ("identity", "shortcut", "tuned")
"""Lenses that the saturation layers are read through."""


def run_shortcut(
    settings: ShortcutSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Fit and measure lenses of a model on a corpus, write ``out/shortcut/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/shortcut/schema.json`), ``settings.yaml`` (repeats the run),
    ``shortcut.safetensors`` with ``shortcut.json`` (`satlens.LinearShortcut.load` reads them), the same of
    ``tuned`` where a tuned lens was trained (`satlens.TunedLens.load`), with matplotlib ``figures/``, and
    anew the page ``out/report.html`` over all that ``out`` holds; all of them or nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_shortcut(ShortcutSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        check_k(settings.k, begun.model.n_outputs)
        report = lenses.report(
            begun.model, begun.reading.batches, test_share=settings.test_share, splits=settings.splits,
            ridge=settings.ridge, intercept=settings.intercept, rank=settings.rank,
            tuned_steps=settings.tuned_steps,
            submodule_tokens=settings.submodule_tokens, submodule_layers=settings.submodule_layers,
            seed=settings.seed, progress=progress,
        )  # fmt: skip
        found = report.to_dict()
        found["saturation"] = saturation(
            begun.model, report.parts["test"], report.lenses, settings.k, settings.seed
        )

        def save(folder: Path) -> None:
            report.shortcut.save(folder / "shortcut")
            if report.tuned is not None:
                report.tuned.save(folder / "tuned")

        return Answer(found, save)

    return ask_and_write(
        settings, out, model, overwrite, ask, shortcut_figures.save_figures, summary
    )


def saturation(
    model: ResidualModel, batches: Batches, through: Mapping[str, Any], k: int, seed: int
) -> dict[str, Any]:
    """The mean saturation layer and the censored share of each rank, through each lens."""
    found: dict[str, Any] = {}
    tokens = 0
    for name in THROUGH:
        if name not in through:
            continue
        lens = None if name == "identity" else through[name]
        parts = [events for _, events in stream(model, batches, k=k, lens=lens, logits=False)]
        events = SaturationEvents.concat(parts)
        tokens = len(events)
        columns = [np.ones((len(events), 1)), events.layer, events.censored]
        sums = by_document(np.concatenate(columns, axis=1), events.doc)
        means = bootstrap(sums, lambda s: s[..., 1:] / s[..., :1], draws=DRAWS, seed=seed)
        found[name] = [
            {"rank": i + 1, "layer": means[i].to_dict(), "censored": means[k + i].to_dict()}
            for i in range(k)
        ]
    return {"k": k, "documents": batches.n_documents, "tokens": tokens, "lenses": found}
