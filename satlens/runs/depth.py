"""`run_depth`: how many blocks the model uses until an answer is fixed, and what is left of its depth."""

from pathlib import Path
from typing import Any

from satlens.report.depth import figures as depth_figures
from satlens.report.depth.tables import summary
from satlens.report.validate import plain, write_results
from satlens.runs.begin import begin
from satlens.runs.folder import PAGE, RESULTS, output_folder
from satlens.runs.results import assemble, save_figures, timed
from satlens.runs.settings import DepthSettings
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
    out = Path(out)
    begun = begin(settings, out, model, overwrite)
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite, begun.said) as folder:
        with timed("depth", seconds):
            found = report(
                begun.model, begun.reading.batches, k=settings.k, draws=settings.draws,
                untrained_seeds=settings.untrained_seeds, seed=settings.seed, progress=progress,
            )  # fmt: skip
        results = plain(assemble(settings, begun.said, begun.reading, seconds, found.to_dict()))
        write_results(results, folder / RESULTS)
        save_figures(depth_figures.save_figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
