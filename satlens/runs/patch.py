"""`run_patch`: can a state, or a direction, force the next stage, with every control beside it."""

from pathlib import Path
from typing import Any

from satlens import patching
from satlens.report.patch import figures as patch_figures
from satlens.report.patch.tables import summary
from satlens.runs.begin import Begun
from satlens.runs.settings import PatchSettings
from satlens.runs.verb import Answer, ask_and_write


def run_patch(
    settings: PatchSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Patch and steer a model on a corpus, write ``out/patch/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/patch/schema.json`), ``settings.yaml`` (repeats the run),
    ``effects.parquet`` (one long table of every number), with matplotlib ``figures/``, and anew the
    page ``out/report.html`` over all that ``out`` holds; all of them or nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_patch(PatchSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        report = patching.report(
            begun.model, begun.reading.batches, k=settings.k, offsets=settings.offsets, gap=settings.gap,
            across=settings.across, pairs=settings.pairs, stage=settings.stage,
            alphas=settings.alphas, steered=settings.steered, seed=settings.seed, progress=progress,
        )  # fmt: skip
        return Answer(
            report.to_dict(),
            lambda folder: report.to_frame().to_parquet(folder / "effects.parquet", index=False),
        )

    return ask_and_write(settings, out, model, overwrite, ask, patch_figures.save_figures, summary)
