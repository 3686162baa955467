"""`run_route`: where tokens of a frozen model may skip a block, and what that costs."""

from pathlib import Path
from typing import Any

from satlens.lenses.documents import split_documents
from satlens.report.route import figures as route_figures
from satlens.report.route.tables import summary
from satlens.routing.study import report
from satlens.runs.begin import Begun
from satlens.runs.settings import RouteSettings
from satlens.runs.verb import Answer, ask_and_write


def run_route(
    settings: RouteSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Train gates on a frozen model, judge them, write ``out/route/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/route/schema.json`), ``settings.yaml`` (repeats the run),
    ``gates.safetensors`` with ``gates.json`` (those of the first run; `satlens.routing.TokenGates.load` reads
    them), with matplotlib ``figures/``, and anew the page ``out/report.html`` over all that ``out`` holds;
    all of them or nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_route(RouteSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        held_out, training = split_documents(
            begun.reading.batches, settings.test_share, settings.seed
        )
        found = report(
            begun.model, training, held_out, penalties=settings.penalties, steps=settings.steps,
            lr=settings.lr, rank=settings.k, train_seeds=settings.train_seeds, draws=settings.draws,
            seed=settings.seed, progress=progress,
        )  # fmt: skip
        return Answer(found.to_dict(), lambda folder: found.runs[0].gates.save(folder / "gates"))

    return ask_and_write(settings, out, model, overwrite, ask, route_figures.save_figures, summary)
