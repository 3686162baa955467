"""`run_exits`: what every exit policy gives and saves, with the logit lens and with linear shortcuts."""

from pathlib import Path
from typing import Any

import numpy as np

from satlens import exits
from satlens.errors import InputError
from satlens.lenses.documents import split_several
from satlens.models import Batches, ResidualModel
from satlens.probes import StageProbe, StageSampler, final_features
from satlens.report.exits import figures as exits_figures
from satlens.report.exits.tables import summary
from satlens.runs.begin import Begun
from satlens.runs.settings import ExitsSettings
from satlens.runs.verb import Answer, ask_and_write
from satlens.saturation.detect import stream


def run_exits(
    settings: ExitsSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Evaluate exit policies of a model on a corpus, write ``out/exits/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/exits/schema.json`), ``settings.yaml`` (repeats the run),
    ``policies.parquet`` (one row a lens, policy and threshold), with matplotlib ``figures/``, and anew the
    page ``out/report.html`` over all that ``out`` holds; all of them or nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_exits(ExitsSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        (held_out, training), *others = split_several(
            begun.reading.batches, settings.test_share, settings.seed, settings.splits
        )
        report = exits.report(
            begun.model, training, held_out, more_splits=[(fitted, judged) for judged, fitted in others],
            fit_stage=StageFitter(settings),
            points=settings.points, epsilons=settings.epsilons, delta=settings.delta,
            tokens=settings.fit_tokens, untrained_seeds=settings.untrained_seeds,
            seed=settings.seed, progress=progress,
        )  # fmt: skip
        return Answer(
            report.to_dict(),
            lambda folder: report.to_frame().to_parquet(folder / "policies.parquet", index=False),
        )

    return ask_and_write(settings, out, model, overwrite, ask, exits_figures.save_figures, summary)


class StageFitter:
    """Makes the stage exit: a probe on balanced states; nothing leaves below the layers it was fitted on."""

    def __init__(self, settings: ExitsSettings) -> None:
        self.settings = settings

    def __call__(self, model: ResidualModel, batches: Batches) -> exits.StageExit:
        """Fit on these documents.

        Raises:
            InputError: too few states of some stage.
        """
        own = self.settings
        k = min(own.k, model.n_outputs)
        if k < own.stages:
            raise InputError(
                f"{model.name} has {model.n_outputs} outputs: too few for {own.stages} stages."
            )
        sampler = StageSampler(per_cell=own.per_cell, seed=own.seed)
        for states, events in stream(model, batches, k=k):
            sampler.update(states.resid, events, final_features(states.logits, k))
        found = sampler.finish().balanced(own.stages, own.min_states)
        probe = StageProbe().fit(found.state, found.stage, found.layer)
        return exits.StageExit(probe, first=int(np.min(found.layer)))
