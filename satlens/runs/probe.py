"""`run_probe`: can the stage be read off the residual stream, with every control beside it."""

from pathlib import Path

from satlens import probes
from satlens.models import load_model, wrap
from satlens.report.probe import figures as probe_figures
from satlens.report.probe.tables import summary
from satlens.report.validate import plain, write_results
from satlens.runs.folder import PAGE, RESULTS, check_model, check_output, output_folder
from satlens.runs.reading import read
from satlens.runs.results import assemble, describe, save_figures, timed
from satlens.runs.settings import ProbeSettings
from satlens.survey.corpus import read_corpus


def run_probe(
    settings: ProbeSettings, out: str | Path, *, overwrite: bool = False, progress: bool = False
) -> str:
    """Probe a model on a corpus, write ``out/probe/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/probe/schema.json`), ``settings.yaml`` (repeats the run),
    ``probe.safetensors`` with ``probe.json`` (`satlens.StageProbe.load` reads them), with matplotlib
    ``figures/``, and anew the page ``out/report.html`` over all that ``out`` holds; all of them or
    nothing.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_probe(ProbeSettings("tiny"), "runs/tiny"))
    """
    out = Path(out)
    check_output(out.absolute(), settings, overwrite)
    corpus = read_corpus(settings.corpus, separator=settings.separator)
    model = wrap(load_model(settings.model))
    said = describe(model)
    check_model(out.absolute(), settings.verb, said)
    reading = read(model, corpus, settings)
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite, said) as folder:
        with timed("probe", seconds):
            report = probes.report(
                model, reading.batches, k=settings.k, stages=settings.stages, per_cell=settings.per_cell,
                min_states=settings.min_states, folds=settings.folds, draws=settings.draws,
                untrained_seeds=settings.untrained_seeds, out_of_order=settings.out_of_order,
                ties=settings.ties, censored=settings.censored, batch_size=settings.batch_size,
                seed=settings.seed, progress=progress,
            )  # fmt: skip
        results = plain(assemble(settings, said, reading, seconds, report.to_dict()))
        write_results(results, folder / RESULTS)
        report.probe.save(folder / "probe")
        save_figures(probe_figures.save_figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
