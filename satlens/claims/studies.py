"""What claims are judged from: the runs of the verbs, in one folder, each made once.

    DIR/results.json, DIR/probe/results.json, ...     as `satlens VERB MODEL --out DIR` writes them

A run that the folder holds is taken as it is, if it was asked the same. "untrained" is the order of the ranks
in a model of the same shape with fresh weights; no page tells of it, so it is made anew each time.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from satlens import order, runs
from satlens.errors import InputError, OutputError, SatlensError
from satlens.models import ResidualModel, untrained, wrap
from satlens.report.validate import read_results
from satlens.runs.audit import trained
from satlens.runs.audit_results import as_published
from satlens.runs.corpora import corpus_of
from satlens.runs.folder import RESULTS, SETTINGS_FILE, parts, place
from satlens.runs.reading import null_documents, read
from satlens.runs.settings import AnyKindSettings
from satlens.verdicts import HOLDS

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
UNTRAINED = "untrained"
NOT_SHARED = {"route": ("k",)}
"""Settings of a verb that mean something else there: the rank whose saturation skipping is held against."""


@dataclass(frozen=True)
class Asked:
    """What every study is asked.

    Attributes:
        shared: settings that verbs have in common (`satlens.runs.RunSettings`).
        own: settings of single verbs, by verb.
    """

    model: str
    corpus: str
    shared: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]

    def of(self, verb: str) -> runs.RunSettings:
        """The settings of one verb; what claims do not ask keeps its default.

        Raises:
            InputError: settings that the verb does not have, or that mean nothing.
        """
        verb = "audit" if verb == UNTRAINED else verb
        kind = VERBS[verb][1]
        taken = {one.name for one in fields(kind)} - {"model", "corpus"}
        left = taken - set(NOT_SHARED.get(verb, ()))
        own = {name: value for name, value in self.shared.items() if name in left}
        more = dict(self.own.get(verb, {}))
        if unknown := sorted(more.keys() - taken):
            raise InputError(
                f"satlens {verb} has no setting {', '.join(unknown)}. It has {', '.join(sorted(taken))}."
            )
        return kind(model=self.model, corpus=self.corpus, **{**own, **more})

    def check(self) -> None:
        """Refuse settings of verbs that are none, and values that mean nothing, before anything is read.

        Raises:
            InputError: which.
        """
        if unknown := sorted(self.own.keys() - VERBS.keys()):
            raise InputError(
                f"Claims are judged from {', '.join(VERBS)}; settings were given for {', '.join(unknown)}."
            )
        for verb in VERBS:
            self.of(verb)


def takes(study: str) -> tuple[str, ...]:
    """What a model must read for a study."""
    return VERBS["audit" if study == UNTRAINED else study][1].takes


def found_or_made(
    study: str, asked: Asked, model: ResidualModel, out: Path, progress: bool
) -> tuple[Mapping[str, Any] | None, str]:
    """The results of a study, or None and why it could not be made.

    Raises:
        OutputError: a folder that cannot be written, or that holds a run which was asked something else.
    """
    try:
        if study == UNTRAINED:
            logger.info("claims: the same shape with fresh weights")
            return untrained_order(asked.of(study), model, progress), ""
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
        return None, f"satlens {study} could not be run: {str(error).splitlines()[0]}"


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


def untrained_order(
    settings: runs.RunSettings, model: ResidualModel, progress: bool = False
) -> dict[str, Any]:
    """The verdicts of an audit on the order of the ranks, of a model with fresh weights."""
    assert isinstance(settings, runs.AuditSettings)
    corpus = corpus_of(model, settings.corpus, separator=settings.separator)
    fresh = replace(wrap(untrained(model, settings.seed)), name=f"{model.name} untrained")
    reading = read(fresh, corpus, settings)
    chosen = null_documents(reading, settings.null_tokens)
    with TemporaryDirectory() as folder:
        path = Path(folder, "events.parquet")
        events, nulls = trained(fresh, reading, chosen, settings, path, progress)
    report = order.report(events, nulls.finish(), seed=settings.seed)
    main = report.to_dict()["verdicts"]
    holds = bool(main) and main[0]["verdict"] == HOLDS
    return {"verdicts": [*main, as_published(report, holds)], "notes": list(reading.notes)}
