"""`run_dynamics`: a model through its training, checkpoint by checkpoint."""

from pathlib import Path

from satlens.report.dynamics import figures as dynamics_figures
from satlens.report.dynamics.tables import summary
from satlens.report.validate import plain, write_results
from satlens.runs.begin import begin
from satlens.runs.folder import PAGE, RESULTS, check_output, output_folder
from satlens.runs.results import assemble, save_figures, timed
from satlens.runs.settings import DynamicsSettings
from satlens.theory.tracking import Checkpoints, checkpoints, report


def run_dynamics(
    settings: DynamicsSettings,
    out: str | Path,
    course: Checkpoints | None = None,
    *,
    rows: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Follow a training on a corpus, write ``out/dynamics/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/dynamics/schema.json`; its model is the last checkpoint),
    ``settings.yaml`` (repeats the run), with matplotlib ``figures/``, and anew the page ``out/report.html``
    over all that ``out`` holds; all of them or nothing. One model is in memory at a time.

    Args:
        course: the checkpoints, where they are at hand; ``settings.model`` is then only their name. Without
            them those of that name are looked for (`satlens.theory.checkpoints`).
        rows: a folder that keeps the row of each checkpoint; a stopped run goes on there.

    Raises:
        SatlensError: checkpoints, a corpus, setting, folder of rows or output folder that cannot be used.

    Example::

        print(run_dynamics(DynamicsSettings("runs/training"), "runs/mine"))
    """
    out = Path(out)
    check_output(out.absolute(), settings, overwrite)
    if course is None:
        course = checkpoints(settings.model, settings.revisions)
    begun = begin(settings, out, None, overwrite, load=course.stored[-1].load)
    said, reading = begun.said, begun.reading
    del begun  # the last model: it is loaded again in its turn
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite, said) as folder:
        with timed("dynamics", seconds):
            try:
                found = report(
                    course, reading.batches, k=settings.k, draws=settings.draws,
                    null_tokens=settings.null_tokens, untrained_seeds=settings.untrained_seeds,
                    batch_size=settings.batch_size, seed=settings.seed, folder=rows, progress=progress,
                )  # fmt: skip
            except KeyboardInterrupt as stop:
                if rows is None:
                    raise
                raise KeyboardInterrupt(
                    f"interrupted; nothing was written to {out}. {rows} keeps the checkpoints measured so "
                    "far: the same command goes on."
                ) from stop
        results = plain(assemble(settings, said, reading, seconds, found.to_dict()))
        write_results(results, folder / RESULTS)
        save_figures(dynamics_figures.save_figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
