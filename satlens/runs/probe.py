"""`run_probe`: can the stage be read off the residual stream, with every control beside it."""

from pathlib import Path
from typing import Any

from satlens import probes
from satlens.report.probe import figures as probe_figures
from satlens.report.probe.tables import summary
from satlens.runs.begin import Begun
from satlens.runs.settings import ProbeSettings
from satlens.runs.verb import Answer, ask_and_write


def run_probe(
    settings: ProbeSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Probe a model on a corpus, write ``out/probe/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/probe/schema.json`), ``settings.yaml`` (repeats the run),
    ``probe.safetensors`` with ``probe.json`` (`satlens.StageProbe.load` reads them), with matplotlib
    ``figures/``, and anew the page ``out/report.html`` over all that ``out`` holds; all of them or
    nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_probe(ProbeSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        report = probes.report(
            begun.model, begun.reading.batches, k=settings.k, stages=settings.stages,
            per_cell=settings.per_cell, min_states=settings.min_states, folds=settings.folds,
            draws=settings.draws,
            untrained_seeds=settings.untrained_seeds, out_of_order=settings.out_of_order,
            ties=settings.ties, censored=settings.censored, batch_size=settings.batch_size,
            seed=settings.seed, progress=progress,
        )  # fmt: skip
        return Answer(report.to_dict(), lambda folder: report.probe.save(folder / "probe"))

    return ask_and_write(settings, out, model, overwrite, ask, probe_figures.save_figures, summary)
