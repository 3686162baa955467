"""The checkpoints of one training, found and told apart before one of them is loaded: `checkpoints`.

What is taken:

    a run of satlens.zoo.train    RUN/settings.json, RUN/work/step_000010.safetensors ...
    a folder of checkpoints       RUN/checkpoint-500/ ... (transformers.Trainer), step500, step_500,
                                  step-500, global_step500; each a Hugging Face folder
    revisions of a hub name       step0 step512 step1000 ... (as Pythia keeps its trainings); see `revisions`
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.models import load_model, wrap
from satlens.models.from_file import in_file
from satlens.theory.tracking.revisions import in_cache_folder, is_cache_folder, on_hub
from satlens.theory.tracking.same import check_same_model
from satlens.theory.tracking.snapshots import stored_steps

NAMES = re.compile(r"(?:checkpoint|step|global_step)[-_]?(\d+)", re.IGNORECASE)
TAKEN = (
    "Taken are the --out folder of python -m satlens.zoo.train, a folder with a Hugging Face folder for each "
    "checkpoint (checkpoint-500, step500, step_500, step-500, global_step500), and a name on the Hugging "
    "Face hub with revisions (--revisions step0 step512 step1000)."
)


@dataclass(frozen=True)
class Stored:
    """One checkpoint that is not loaded yet.

    Attributes:
        name: of its file, folder or revision. load: gives the model, as `satlens.wrap` takes it.
    """

    step: int
    name: str
    load: Callable[[], Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, in order of step; iterating loads one after the other.

    Attributes:
        name: of the training. stored: a `Stored` each. notes: what was found beside them, and left out.
    """

    name: str
    stored: tuple[Stored, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for one in self.stored:
            yield one.step, one.load()

    @property
    def steps(self) -> list[int]:
        """The steps, ascending."""
        return [one.step for one in self.stored]


def checkpoints(path_or_name: str | Path, revisions: Sequence[str] | None = None) -> Checkpoints:
    """The checkpoints of a training, to be loaded one at a time; see the module for what is taken.

    Args:
        path_or_name: a folder, or a name on the hub (or its folder in the hub's cache).
        revisions: of a name on the hub. The number in each is its step; "143000:main" says the step of a
            revision without one.

    Raises:
        InputError: no such folder, no checkpoints in it, one only, two of one step, sub-folders that are no
            models, checkpoints of different shapes or tokenizers, a revision without a step.
        ModelError: a revision that is neither downloaded nor to be reached.

    Example, of a folder with ``checkpoint-500``, ``checkpoint-1000`` ...::

        found = checkpoints("runs/mine")
        found.steps
        satlens.theory.track(found, texts, folder="runs/mine-track").appears()
    """
    path = Path(path_or_name).expanduser()
    if revisions is not None and not revisions:
        raise InputError("Give a revision or more, such as step0 step1000, or leave revisions out.")
    if path.is_dir() and is_cache_folder(path):
        if revisions is None:
            raise InputError(
                f"{path} is a model in the hub's cache: name the revisions to follow, step0 step1000 ..."
            )
        name, folders = in_cache_folder(path, revisions)
        stored = [Stored(step, one, _load(folder)) for step, one, folder in folders]
        return _checked(name, stored, [folder for *_, folder in folders], name)
    if revisions is not None:
        if path.exists() or in_file(str(path_or_name)) or str(path_or_name) == "tiny":
            raise InputError(
                f"{path_or_name} is not a name on the Hugging Face hub, which alone has revisions. {TAKEN}"
            )
        found = on_hub(str(path_or_name), revisions)
        stored = [Stored(step, one, _load(path_or_name, one)) for step, one, _ in found]
        return _checked(str(path_or_name), stored, [f for *_, f in found], str(path_or_name))
    if not path.is_dir():
        kind = "is a file" if path.exists() else "is no folder here"
        raise InputError(
            f"{path_or_name} {kind}: a course is followed through checkpoints. {TAKEN}"
        )
    if (path / "settings.json").is_file() and (path / "work").is_dir():
        run = path.resolve().name
        stored = [Stored(step, name, _named(load, run)) for step, name, load in stored_steps(path)]
        return Checkpoints(run, tuple(stored))
    return _in_folder(path)


def _load(source: str | Path, revision: str | None = None) -> Callable[[], Any]:
    return lambda: load_model(source, revision=revision)


def _named(load: Callable[[], Any], name: str) -> Callable[[], Any]:
    return lambda: replace(wrap(load()), name=name)


def _in_folder(path: Path) -> Checkpoints:
    """A folder with a folder for each checkpoint."""
    inside = sorted(one for one in path.iterdir() if one.is_dir())
    named = [(int(match[1]), one) for one in inside if (match := NAMES.fullmatch(one.name))]
    if not named:
        raise InputError(f"{path} holds no checkpoints: {_inventory(path)}. {TAKEN}")
    empty = [one.name for _, one in named if not (one / "config.json").is_file()]
    if empty:
        raise InputError(
            f"No config.json in {', '.join(empty)} of {path}: a checkpoint is a Hugging Face folder "
            "(config.json, *.safetensors). Complete or remove them."
        )
    others = [
        one.name
        for one in inside
        if not NAMES.fullmatch(one.name) and (one / "config.json").is_file()
    ]
    notes = [f"Left out, without a step in the name: {', '.join(others)}."] if others else []
    stored = [Stored(step, one.name, _load(one)) for step, one in named]
    return _checked(path.resolve().name, stored, [one for _, one in named], str(path), notes)


def _inventory(path: Path) -> str:
    if (path / "config.json").is_file():
        return "it is one model (config.json)"
    names = sorted(one.name for one in path.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"found {', '.join(names[:5])}{more}" if names else "empty"


def _checked(
    name: str,
    stored: Sequence[Stored],
    folders: Sequence[Path | None],
    where: str,
    notes: Sequence[str] = (),
) -> Checkpoints:
    """In order of step, each once, two or more, of one model; ``folders`` as far as they are known."""
    by_step: dict[int, list[str]] = {}
    for one in stored:
        by_step.setdefault(one.step, []).append(one.name)
    twice = [f"{step} ({', '.join(names)})" for step, names in by_step.items() if len(names) > 1]
    if twice:
        raise InputError(
            f"Steps must differ, one checkpoint each; in {where} there are two of {'; '.join(twice)}."
        )
    if len(stored) < 2:
        raise InputError(
            f"{where} gives one checkpoint, {stored[0].name}: a course needs two or more."
        )
    check_same_model(
        [(one.name, own) for one, own in zip(stored, folders, strict=True) if own is not None]
    )
    return Checkpoints(name, tuple(sorted(stored, key=lambda one: one.step)), tuple(notes))
