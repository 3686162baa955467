"""Checkpoints that are revisions of one name on the Hugging Face hub, or in its cache here."""

import re
from collections.abc import Sequence
from pathlib import Path

from satlens.errors import InputError
from satlens.models.hub import cached_file
from satlens.models.load import locate

CACHE = "models--"


def step_of(revision: str) -> tuple[int, str]:
    """The step and the name of a revision; "STEP:REVISION" gives the step of one without a number.

    >>> step_of("step512"), step_of("143000:main"), step_of("stage1-step1000-tokens4B")
    ((512, 'step512'), (143000, 'main'), (1000, 'stage1-step1000-tokens4B'))

    Raises:
        InputError: none, or several numbers, or a hash.
    """
    told = re.fullmatch(r"(\d+):(.+)", revision)
    if told:
        return int(told[1]), told[2]
    is_hash = re.fullmatch(r"[0-9a-f]{7,40}", revision) and not revision.isdigit()
    for form in (r"step[-_]?(\d+)", r"(\d+)"):
        found = [] if is_hash else re.findall(form, revision, re.IGNORECASE)
        if len(found) == 1:
            return int(found[0]), revision
    raise InputError(
        f"Which step the revision {revision!r} is of cannot be told from its name. Write STEP:REVISION, for "
        f"example 143000:{revision}."
    )


def on_hub(name: str, revisions: Sequence[str]) -> list[tuple[int, str, Path | None]]:
    """Step, revision and (where it has been downloaded) folder of each.

    Raises:
        InputError: a revision without a step. ModelError: one that cannot be reached.
    """
    found = []
    for step, revision in map(step_of, revisions):
        locate(name, revision)
        file = cached_file(name, "config.json", revision)
        found.append((step, revision, file and file.parent))
    return found


def is_cache_folder(path: Path) -> bool:
    """Whether this is a model's folder in the hub's cache."""
    return path.name.startswith(CACHE) and (path / "snapshots").is_dir()


def in_cache_folder(
    path: Path, revisions: Sequence[str]
) -> tuple[str, list[tuple[int, str, Path]]]:
    """The model's name, and step, revision and folder of each.

    Raises:
        InputError: a revision without a step, or that was not downloaded.
    """
    found = []
    for step, revision in map(step_of, revisions):
        ref = path / "refs" / revision
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
        folder = path / "snapshots" / commit
        if not (folder / "config.json").is_file():
            refs = path / "refs"
            there = sorted(str(one.relative_to(refs)) for one in refs.rglob("*") if one.is_file())
            raise InputError(
                f"{path} has no revision {revision!r}; there are {', '.join(there) or 'none'}."
            )
        found.append((step, revision, folder))
    return path.name.removeprefix(CACHE).replace("--", "/"), found
