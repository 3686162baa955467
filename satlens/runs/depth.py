"""`run_depth`: how many blocks the model uses until an answer is fixed, and what is left of its depth."""

from pathlib import Path
from typing import Any

from satlens.report.depth import figures as depth_figures
from satlens.report.depth.tables import summary
from satlens.runs.begin import Begun
from satlens.runs.settings import DepthSettings
from satlens.runs.verb import Answer, ask_and_write
from satlens.theory.depth import report


def run_depth(
    settings: DepthSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Measure where a model's depth goes on a corpus, write ``out/depth/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/depth/schema.json`), ``settings.yaml`` (repeats the run), with
    matplotlib ``figures/``, and anew the page ``out/report.html`` over all that ``out`` holds; all of them or
    nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_depth(DepthSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        found = report(
            begun.model, begun.reading.batches, k=settings.k, draws=settings.draws,
            untrained_seeds=settings.untrained_seeds, seed=settings.seed, progress=progress,
        )  # fmt: skip
        return Answer(found.to_dict())

    return ask_and_write(settings, out, model, overwrite, ask, depth_figures.save_figures, summary)
