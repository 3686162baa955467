"""A corpus of any size as a stream of `Slot`s: files, folders of them, Hugging Face datasets.

    source.slots()      from the first document on
    source.slots(at)    from the document on whose `Slot.at` was ``at``

Nothing is kept: a corpus may be larger than the memory and the disk may be shared.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from satlens.errors import InputError
from satlens.survey.corpus import BUNDLED, SEPARATOR
from satlens.survey.files import json_slots, open_parquet, parquet_slots, text_slots
from satlens.survey.hub import HUB, dataset_slots, is_saved, open_dataset
from satlens.survey.slots import EMPTY, Slot
from satlens.zoo import CORPUS

JSON_LINES, PARQUET = (".jsonl", ".ndjson"), (".parquet",)
ENDINGS = (".txt", *JSON_LINES, *PARQUET)
FIELD, SPLIT = "text", "train"


@dataclass(frozen=True)
class Source:
    """A corpus that can be read from any document on.

    Attributes:
        name: for tables.
        read: from a place (None: the beginning) to the slots from there on.
        files: what it consists of, by name; empty where that is not known.
    """

    name: str
    read: Callable[[tuple[Any, ...] | None], Iterator[Slot]]
    files: tuple[str, ...] = ()

    def slots(self, at: Any = None) -> Iterator[Slot]:
        """The documents in order, from a place on.

        Raises:
            InputError: a file that cannot be read.
        """
        try:
            yield from self.read(None if at is None else tuple(at))
        except OSError as error:
            where = error.filename or self.name
            raise InputError(f"Could not read {where}: {error.strerror or error}.") from error


def open_source(
    corpus: str | Path = BUNDLED,
    *,
    separator: str = SEPARATOR,
    field: str = FIELD,
    split: str = SPLIT,
) -> Source:
    """The corpus of a name or a path, without reading it.

    Args:
        corpus: "bundled", a file (.jsonl, .ndjson, .parquet, anything else is UTF-8 text), a folder of such
            files (.txt, .jsonl, .ndjson, .parquet, read in order of name, subfolders included), a folder
            that ``Dataset.save_to_disk`` wrote, or "hf:NAME", which ``datasets.load_dataset`` streams.
        separator: text files: what stands between two documents.
        field: JSON lines, parquet and datasets: the field or column that holds the document.
        split: datasets: which split.

    Raises:
        InputError: nothing there, or a file that cannot be read.
        MissingExtraError: a dataset, and ``datasets`` is not installed.

    Example:
        >>> source = open_source("bundled")
        >>> next(source.slots()).text[:12], source.files
        ('Lily had a r', ('corpus.txt',))
    """
    if not separator:
        raise InputError("The separator between documents must not be empty.")
    if str(corpus).startswith(HUB) or is_saved(Path(corpus)):
        dataset = open_dataset(str(corpus), split, field)
        return Source(Path(str(corpus).removeprefix(HUB)).name, dataset_slots(dataset, field))
    path = CORPUS if str(corpus) == BUNDLED else Path(corpus)
    files = _files(path)
    for file in files:
        _check(file, field)

    def read(at: tuple[Any, ...] | None) -> Iterator[Slot]:
        first, *inside = (0,) if at is None else at
        for index, file in enumerate(files[first:], first):
            for slot in _slots(file, separator, field, inside):
                yield replace(slot, at=(index, *slot.at))
            inside = []

    names = tuple(str(file.relative_to(path)) if file != path else file.name for file in files)
    return Source(BUNDLED if path == CORPUS else path.name, read, names)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix == ".json":
            raise InputError(f"{path}: give JSON lines, one object a line, in a file .jsonl.")
        return [path]
    if not path.is_dir():
        raise InputError(
            f'No corpus at {path}: give a file, a folder, "{BUNDLED}", or "{HUB}NAME" for a dataset.'
        )
    files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS and file.is_file())
    if not files:
        raise InputError(f"The corpus folder {path} holds no file {', '.join(ENDINGS)}.")
    return files


def _check(file: Path, field: str) -> None:
    """Open it once: what cannot be read at all is an error before anything is computed."""
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"Could not read {file}: {error.strerror}.") from error
    if file.suffix in PARQUET:
        open_parquet(file, field).close()


def _slots(file: Path, separator: str, field: str, inside: list[Any]) -> Iterator[Slot]:
    """The documents of one file; a file without any is one that cannot be read."""
    if file.suffix in PARQUET:
        found = parquet_slots(file, field, *inside)
    elif file.suffix in JSON_LINES:
        found = json_slots(file, field, *inside)
    else:
        found = text_slots(file, separator, *inside)
    none = True
    for slot in found:
        none = False
        yield slot
    if none:
        at = (0, 0) if file.suffix in PARQUET else (0,)
        yield Slot(at, 0, None, EMPTY, file.name)
