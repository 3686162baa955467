"""How every run begins: its folder, its model and its corpus are looked at before anything is computed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.models import ResidualModel, load_model, wrap
from satlens.models.protocol import READS
from satlens.runs.corpora import check_there, corpus_of
from satlens.runs.folder import check_model, check_output
from satlens.runs.reading import Reading, read
from satlens.runs.results import describe
from satlens.runs.settings import RunSettings


@dataclass(frozen=True)
class Begun:
    """A run whose model, corpus and folder are known to fit together.

    Attributes:
        said: the model, as results.json describes it.
    """

    model: ResidualModel
    said: dict[str, Any]
    reading: Reading


def begin(
    settings: RunSettings,
    out: Path,
    model: Any,
    overwrite: bool,
    load: Callable[[], Any] | None = None,
) -> Begun:
    """Load the model (or take the one at hand) and read its corpus; nothing is written.

    ``load`` loads it where the settings' model is not its name.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.
    """
    check_output(out.absolute(), settings, overwrite)
    check_there(settings.corpus)
    if model is None:
        wrapped = wrap(load_model(settings.model) if load is None else load())
    else:
        wrapped = replace(wrap(model), name=settings.model)
    check_takes(settings, wrapped)
    said = describe(wrapped)
    check_model(out.absolute(), settings.verb, said)
    corpus = corpus_of(wrapped, settings.corpus, separator=settings.separator)
    return Begun(wrapped, said, read(wrapped, corpus, settings))


def check_takes(settings: RunSettings, model: ResidualModel) -> None:
    """Refuse a model of a kind that the question makes no sense for."""
    if model.reads in settings.takes:
        return
    raise InputError(
        f"{model.name} reads {READS[model.reads]}, and satlens {settings.verb} takes models that read "
        f"{' or '.join(READS[one] for one in settings.takes)}: {settings.why}. satlens audit, probe, patch, "
        "shortcut and depth take models of every kind."
    )
