"""What the results of every verb have in common (keys: `satlens/report/VERB/schema.json`)."""

import logging
import platform
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from satlens.errors import MissingExtraError
from satlens.models import ResidualModel, weights_sha256
from satlens.runs.reading import Reading
from satlens.runs.settings import RunSettings
from satlens.version import __version__

logger = logging.getLogger("satlens")

FORMATS = ("png", "pdf")
"""The paper figures of a run: for the screen, and for print."""


def assemble(
    settings: RunSettings,
    model: Mapping[str, Any],
    reading: Reading,
    seconds: Mapping[str, float],
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """What results.json holds.

    Args:
        settings, reading: what was asked and read.
        model: as `describe` gives it.
        seconds: by part of the run.
        found: what the verb found, its "verdicts" and "notes", and "settings" of its own.
    """
    own = dict(found)
    return {
        "schema": f"satlens.{settings.verb}/1",
        "model": dict(model),
        "corpus": {
            "name": reading.corpus.name,
            "reads": reading.corpus.reads,
            "document": reading.document,
            "position": reading.position,
            "documents": reading.batches.n_documents,
            "tokens": reading.batches.n_tokens,
            "split_documents": reading.split,
            "windows": len(reading.batches.rows),
            "sha256": reading.corpus.sha256,
        },
        "settings": {**own.pop("settings", {}), **settings.to_dict()},
        "versions": {
            "satlens": __version__,
            "transformer_lens": version("transformer-lens"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        **own,
        "notes": [*reading.notes, *own["notes"]],
    }


def describe(model: ResidualModel) -> dict[str, Any]:
    """The model, well enough to tell it from another of the same name."""
    parameters = list(model.host.parameters())
    return {
        "name": model.name,
        "kind": type(model.host).__name__,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "n_outputs": model.n_outputs,
        "parameters": sum(p.numel() for p in parameters),
        "dtype": str(parameters[0].dtype).removeprefix("torch."),
        "weights_sha256": weights_sha256(model),
    }


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Generator[None, None, None]:
    """Note the wall-clock seconds spent inside."""
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began


def save_figures(save: Callable[..., Any], results: Mapping[str, Any], folder: Path) -> None:
    """The paper figures, or a line in the log where matplotlib is not installed."""
    try:
        save(results, folder / "figures", formats=FORMATS)
    except MissingExtraError as missing:
        logger.info("No figures beside the page: %s", missing)
