"""Whether folders hold checkpoints of one model: shapes and tokenizers, read without any weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from satlens.errors import InputError

SHAPE = {
    "architecture": ("model_type",),
    "vocabulary": ("vocab_size",),
    "number of blocks": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
}
"""What must be one, with its names in config.json."""


def check_same_model(folders: Sequence[tuple[str, Path]]) -> None:
    """Refuse checkpoints of different shapes, or that split text in different ways.

    Args:
        folders: name and Hugging Face folder of each checkpoint.

    Raises:
        InputError: what differs, in which two; or a file that cannot be read.
    """
    first: dict[str, tuple[str, Any]] = {}
    for name, folder in folders:
        config = read(folder / "config.json")
        for words, keys in SHAPE.items():
            value = next((config[key] for key in keys if config.get(key) is not None), None)
            before, there = first.setdefault(words, (name, value))
            if there != value:
                raise InputError(
                    f"Checkpoints must be of one model: the {words} is {there} in {before} and {value} in "
                    f"{name}."
                )
        file = folder / "tokenizer.json"
        if file.is_file():  # what is left out of it, padding and truncation, is no matter here
            splits = read(file).get("model")
            before, there = first.setdefault("tokenizer", (name, splits))
            if there != splits:
                raise InputError(
                    f"Checkpoints must read the same tokens: the tokenizers in {before} and {name} differ."
                )


def read(file: Path) -> dict[str, Any]:
    """A JSON object in a file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {file} ({error}); get the whole checkpoint.") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} holds a {type(found).__name__}, not settings of a model.")
    return found
