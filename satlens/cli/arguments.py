"""What the verbs have in common: arguments, and how a run is begun."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from satlens.errors import InputError

Model = Annotated[Positional[str | None], arg(metavar="MODEL")]
From = Annotated[Path | None, arg(name="from", metavar="SETTINGS.YAML")]
TEXT_END = "<|endoftext|>"


def run_verb(
    run: Callable[..., str],
    kind: Any,
    model: str | None,
    path: Path | None,
    values: dict[str, Any],
    out: Path,
    overwrite: bool,
) -> None:
    """One run: its settings from a file or from the arguments, its tables on standard output."""
    if (path is None) == (model is None):
        raise InputError(
            "Give a MODEL, or --from DIR/settings.yaml to repeat a run; one of the two."
        )
    asked = kind.read(path) if path is not None else kind(model=model, **values)
    sys.stdout.write(run(asked, out, overwrite=overwrite, progress=True) + "\n")
