"""What claims are judged from: runs of the verbs, and experiments, in one folder, each made once.

    DIR/results.json, DIR/probe/results.json, ...     as `satlens VERB MODEL --out DIR` writes them
    DIR/studies/NAME.json                             `satlens.claims.experiments`

What the folder holds is taken as it is, if it was asked the same.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from satlens import runs
from satlens.claims.experiments import EXPERIMENTS, stored_or_made
from satlens.errors import InputError, OutputError, SatlensError
from satlens.models import ResidualModel
from satlens.report.validate import read_results
from satlens.runs.folder import RESULTS, SETTINGS_FILE, parts, place
from satlens.runs.settings import AnyKindSettings

logger = logging.getLogger("satlens")

VERBS: dict[str, tuple[Callable[..., str], type[runs.RunSettings]]] = {
    "audit": (runs.run_audit, runs.AuditSettings),
    "probe": (runs.run_probe, runs.ProbeSettings),
    "patch": (runs.run_patch, runs.PatchSettings),
    "shortcut": (runs.run_shortcut, runs.ShortcutSettings),
    "exits": (runs.run_exits, runs.ExitsSettings),
    "rerank": (runs.run_rerank, runs.RerankSettings),
    "depth": (runs.run_depth, runs.DepthSettings),
    "route": (runs.run_route, runs.RouteSettings),
}
NOT_SHARED = {"route": ("k",)}
"""Settings of a verb that mean something else there: the rank whose saturation skipping is held against."""


@dataclass(frozen=True)
class Asked:
    """What every study is asked.

    Attributes:
        shared: settings that verbs have in common (`satlens.runs.RunSettings`).
        own: settings of single studies, by name.
    """

    model: str
    corpus: str
    shared: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]

    def of(self, study: str) -> Any:
        """The settings of one study; what claims do not ask keeps its default.

        Raises:
            InputError: settings that the study does not have, or that mean nothing.
        """
        name = verb_of(study)
        kind = kind_of(name)
        taken = {one.name for one in fields(kind)}
        left = taken - {"model", "corpus"} - set(NOT_SHARED.get(name, ()))
        own = {key: value for key, value in self.shared.items() if key in left}
        said = {"model": self.model, "corpus": self.corpus}
        own |= {key: value for key, value in said.items() if key in taken}
        more = dict(self.own.get(name, {}))
        if unknown := sorted(more.keys() - (taken - {"model", "corpus"})):
            raise InputError(
                f"{_named(name)} has no setting {', '.join(unknown)}. It has "
                f"{', '.join(sorted(taken - {'model', 'corpus'}))}."
            )
        return kind(**{**own, **more})

    def check(self) -> None:
        """Refuse settings of studies that are none, and values that mean nothing, before anything is read.

        Raises:
            InputError: which.
        """
        every = list(dict.fromkeys(verb_of(one) for one in (*VERBS, *EXPERIMENTS)))
        if unknown := sorted(self.own.keys() - set(every)):
            raise InputError(
                f"Claims are judged from {', '.join(every)}; settings were given for {', '.join(unknown)}."
            )
        for name in every:
            self.of(name)


def verb_of(study: str) -> str:
    """Whose settings are given to a study: its own, but for an audit of another model."""
    return (EXPERIMENTS[study].verb if study in EXPERIMENTS else None) or study


def kind_of(study: str) -> type:
    """The kind of a study's settings."""
    return EXPERIMENTS[study].settings if study in EXPERIMENTS else VERBS[study][1]


def takes(study: str) -> tuple[str, ...]:
    """What a model must read for a study; () for one that needs no model."""
    return EXPERIMENTS[study].takes if study in EXPERIMENTS else VERBS[study][1].takes


def found_or_made(
    study: str, asked: Asked, model: ResidualModel | None, out: Path, progress: bool
) -> tuple[Mapping[str, Any] | None, str]:
    """The results of a study, or None and why it could not be made.

    Raises:
        OutputError: a folder that cannot be written, or that holds a run which was asked something else.
    """
    try:
        if study in EXPERIMENTS:
            return _experiment(study, asked, model, out, progress)
        settings, there = asked.of(study), place(out, study)
        if study in parts(out):
            check_same(type(settings).read(there / SETTINGS_FILE), settings, there, asked.own)
        else:
            logger.info("claims: satlens %s", study)
            VERBS[study][0](settings, out, model, progress=progress)
        return read_results(there / RESULTS), ""
    except OutputError:
        raise
    except SatlensError as error:
        return None, f"{_named(study)} could not be run: {str(error).splitlines()[0]}"


def _experiment(
    study: str, asked: Asked, model: ResidualModel | None, out: Path, progress: bool
) -> tuple[Mapping[str, Any] | None, str]:
    """An experiment, after the verbs that it needs."""
    one = EXPERIMENTS[study]
    key = asdict(asked.of(study))
    for need in one.needs:
        found, why = found_or_made(need, asked, model, out, progress)
        if found is None:
            return None, why
        key[need] = asdict(asked.of(need))
    logger.info("claims: %s", study)
    return stored_or_made(study, one, key, asked.of, model, out, progress), ""


def _named(study: str) -> str:
    return f"The study {study!r}" if study in EXPERIMENTS else f"satlens {study}"


def check_same(
    there: runs.RunSettings,
    asked: runs.RunSettings,
    folder: Path,
    own: Mapping[str, Mapping[str, Any]],
) -> None:
    """Refuse a run that was asked something else than the claims are; other settings are its own matter.

    Raises:
        OutputError: what differs.
    """
    names = {one.name for one in fields(AnyKindSettings)} - set(NOT_SHARED.get(asked.verb, ()))
    names |= own.get(asked.verb, {}).keys()
    odd = [
        f"{one.name} is {getattr(there, one.name)!r} there and {getattr(asked, one.name)!r} here"
        for one in fields(asked)
        if one.name in names and getattr(there, one.name) != getattr(asked, one.name)
    ]
    if odd:
        raise OutputError(
            f"{folder} holds a {asked.verb} that was asked something else: {'; '.join(odd)}. Give another "
            "folder, or ask the same."
        )
