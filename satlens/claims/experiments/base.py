"""An experiment: a study that claims are judged from and that no verb of the command line makes.

DIR/studies/NAME.json holds what was asked, of which model, and the verdicts; it is read again where all of
that is the same.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satlens.errors import OutputError
from satlens.files import write_whole
from satlens.models import ResidualModel
from satlens.report.validate import plain
from satlens.runs.folder import STUDIES
from satlens.runs.results import describe
from satlens.version import __version__

FORM = "satlens.study/1"
Of = Callable[[str], Any]
"""The settings of a study, by its name."""


@dataclass(frozen=True)
class Experiment:
    """How one is made.

    Attributes:
        make: (settings by study, the model or None, the folder, progress) -> "verdicts", "notes" and whatever
            numbers they rest on.
        settings: the kind of its settings.
        takes: what a model must read; () where it needs none.
        needs: verbs whose runs must lie in the folder before.
        verb: whose settings are given to it; its own name where None.
    """

    make: Callable[[Of, ResidualModel | None, Path, bool], Mapping[str, Any]]
    settings: type
    takes: tuple[str, ...] = ("text",)
    needs: tuple[str, ...] = ()
    verb: str | None = None


def stored_or_made(
    name: str,
    one: Experiment,
    asked: Mapping[str, Any],
    of: Of,
    model: ResidualModel | None,
    out: Path,
    progress: bool,
) -> Mapping[str, Any]:
    """What the folder holds of an experiment, or the experiment made and put there.

    Args:
        asked: everything that decides what it finds, plain values.

    Raises:
        SatlensError: it cannot be made.
        OutputError: the folder holds it, and it was asked something else.
    """
    path = out / STUDIES / f"{name}.json"
    weights = None if model is None or not one.takes else describe(model)["weights_sha256"]
    key = {"asked": plain(asked), "weights_sha256": weights}
    if path.is_file():
        return _read(path, key)
    began = time.monotonic()
    found = one.make(of, model, out, progress)
    said = {
        "form": FORM, "version": __version__, "study": name, **key,
        "seconds": round(time.monotonic() - began, 1), **plain(found),
    }  # fmt: skip
    write_whole(path, json.dumps(said, indent=1, allow_nan=False) + "\n")
    return said


def _read(path: Path, key: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["form"] != FORM or not isinstance(said["verdicts"], list):
            raise ValueError(f"form {said['form']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is not what satlens claims wrote ({error}): remove it, and it is made anew."
        ) from error
    odd = [name for name in key if said.get(name) != key[name]]
    if odd:
        was, now = said.get("asked") or {}, key["asked"]
        differ = [
            f"{one} is {was.get(one)!r} there and {now.get(one)!r} here"
            for one in sorted({*was, *now}) if was.get(one) != now.get(one)
        ]  # fmt: skip
        raise OutputError(
            f"{path} was asked something else: {'; '.join(differ) or 'of another model'}. Give another "
            "folder, or ask the same."
        )
    return said
