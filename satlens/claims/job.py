"""`run_claims`: the claims of the papers on one model, in a folder with their evidence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from satlens.claims.claim import check_ids
from satlens.claims.registry import CLAIMS
from satlens.claims.run import applicable, run
from satlens.files import write_whole
from satlens.report.claims.tables import summary, tables_markdown
from satlens.report.validate import plain, write_results
from satlens.runs.begin import begin
from satlens.runs.folder import PAGE, RESULTS, output_folder
from satlens.runs.results import assemble, timed
from satlens.runs.settings import ClaimsSettings


def run_claims(
    settings: ClaimsSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Ask the claims of a model, write ``out/claims/`` beside the runs they rest on, and return the table.

    The runs go into ``out`` as their own verbs write them, one after the other; those that are there are not
    made again, so a command that was stopped goes on. Then ``claims/`` is written: ``results.json`` (keys:
    `report/claims/schema.json`), ``settings.yaml`` (repeats the run) and ``claims.md``; and anew the page
    ``out/report.html`` over all of it.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: an unknown claim, or a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_claims(ClaimsSettings("tiny", only=("order",)), "runs/tiny"))
    """
    out = Path(out)
    names = check_ids(CLAIMS, settings.only)
    begun = begin(settings, out, model, overwrite)
    applicable([CLAIMS[one] for one in names], begun.model, named=settings.only is not None)
    shared = settings.to_dict()
    for name in ("model", "corpus", "only"):
        shared.pop(name)
    seconds: dict[str, float] = {}
    named = replace(begun.model, name=settings.model)  # what the settings of each run repeat
    with timed("claims", seconds):
        table = run(
            named, settings.corpus, only=settings.only, out=out, progress=progress, **shared
        )
    with output_folder(out, settings, overwrite, begun.said) as folder:
        results = plain(assemble(settings, begun.said, begun.reading, seconds, table.to_dict()))
        write_results(results, folder / RESULTS)
        write_whole(folder / "claims.md", tables_markdown(results))
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
