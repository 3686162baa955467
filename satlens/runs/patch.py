"""`run_patch`: can a state, or a direction, force the next stage, with every control beside it."""

from pathlib import Path

from satlens import patching
from satlens.models import load_model, wrap
from satlens.report.patch import figures as patch_figures
from satlens.report.patch.tables import summary
from satlens.report.validate import plain, write_results
from satlens.runs.folder import PAGE, RESULTS, check_model, check_output, output_folder
from satlens.runs.reading import read
from satlens.runs.results import assemble, describe, save_figures, timed
from satlens.runs.settings import PatchSettings
from satlens.survey.corpus import read_corpus


def run_patch(
    settings: PatchSettings, out: str | Path, *, overwrite: bool = False, progress: bool = False
) -> str:
    """Patch and steer a model on a corpus, write ``out/patch/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/patch/schema.json`), ``settings.yaml`` (repeats the run),
    ``effects.parquet`` (one long table of every number), with matplotlib ``figures/``, and anew the
    page ``out/report.html`` over all that ``out`` holds; all of them or nothing.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_patch(PatchSettings("tiny"), "runs/tiny"))
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
        with timed("patch", seconds):
            report = patching.report(
                model, reading.batches, k=settings.k, offsets=settings.offsets, gap=settings.gap,
                across=settings.across, pairs=settings.pairs, stage=settings.stage,
                alphas=settings.alphas, steered=settings.steered, seed=settings.seed, progress=progress,
            )  # fmt: skip
        results = plain(assemble(settings, said, reading, seconds, report.to_dict()))
        write_results(results, folder / RESULTS)
        report.to_frame().to_parquet(folder / "effects.parquet", index=False)
        save_figures(patch_figures.save_figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
