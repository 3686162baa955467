"""Hugging Face datasets as a stream of documents.

    a folder of ``Dataset.save_to_disk``     opened in place; a place is a row
    "hf:NAME"                                ``load_dataset(NAME, streaming=True)``; a place is the stream's
                                             own state, so that a shard begins without reading all before it

NAME is whatever ``datasets.load_dataset`` takes: a local folder of data files, or a name on the hub.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from satlens.errors import InputError, MissingExtraError
from satlens.survey.slots import Slot, slot_of

HUB = "hf:"
SAVED = ("state.json", "dataset_dict.json")


def is_saved(path: Path) -> bool:
    """Whether a folder is one that ``save_to_disk`` wrote."""
    return any((path / name).is_file() for name in SAVED)


def open_dataset(corpus: str, split: str, field: str) -> Any:
    """The dataset of a folder or a name, with the column.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        InputError: no such dataset, split or column.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingExtraError(
            'Hugging Face datasets need the package datasets: pip install "satlens[datasets]".'
        ) from error
    try:
        if corpus.startswith(HUB):
            found = datasets.load_dataset(corpus.removeprefix(HUB), split=split, streaming=True)
        else:
            found = datasets.load_from_disk(corpus)
    except (OSError, ValueError) as error:
        raise InputError(f"Could not open the dataset {corpus}: {error}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise InputError(
                f"The dataset {corpus} has the splits {', '.join(found)}, not {split!r}."
            )
        found = found[split]
    columns = found.column_names
    if columns is not None and field not in columns:
        raise InputError(
            f"The dataset {corpus} has the columns {', '.join(columns)}, and no {field!r}. Name the "
            "column of text with --field."
        )
    return found.select_columns([field])


def dataset_slots(dataset: Any, field: str) -> Callable[[tuple[Any, ...] | None], Iterator[Slot]]:
    """The reader of a dataset, from any place on."""
    if hasattr(dataset, "state_dict"):
        return lambda at: _streamed(dataset, field, at)
    return lambda at: _saved(dataset, field, at)


def _saved(dataset: Any, field: str, at: tuple[Any, ...] | None) -> Iterator[Slot]:
    for row in range(0 if at is None else at[0], len(dataset)):
        yield _of(dataset[row].get(field), (row,), row)


def _streamed(dataset: Any, field: str, at: tuple[Any, ...] | None) -> Iterator[Slot]:
    first, state = (0, None) if at is None else at
    # The stream keeps its state in itself: every reader goes its own way on a copy.
    dataset = dataset.skip(0)
    if state is not None:
        dataset.load_state_dict(json.loads(state))
    state = json.dumps(dataset.state_dict())
    for row, example in enumerate(dataset, first):
        yield _of(example.get(field), (row, state), row)
        state = json.dumps(dataset.state_dict())


def _of(value: Any, at: tuple[Any, ...], row: int) -> Slot:
    size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0
    return slot_of(value, at, size, f"row {row}")
