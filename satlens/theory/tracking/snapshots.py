"""The checkpoints that `satlens.zoo.train` keeps, as models: `snapshots`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from satlens.errors import InputError, SatlensError
from satlens.models.protocol import Host
from satlens.zoo.checkpoint import load_weights
from satlens.zoo.model import build_model
from satlens.zoo.settings import Settings, read_settings


def snapshots(run: str | Path) -> Iterator[tuple[int, nn.Module]]:
    """Each step that a training run kept, with the model as it was then; the untrained one first, as step 0.

    Models are built one at a time, in float32 and evaluation mode, with the run's tokenizer.

    Args:
        run: the ``--out`` folder of ``python -m satlens.zoo.train``, also of a run that was stopped.

    Raises:
        InputError: no run there, or one that kept no step yet.

    Example, of a finished run::

        found = satlens.theory.track(satlens.theory.snapshots("run"), texts, folder="run/track")
    """
    return ((step, load()) for step, _, load in stored_steps(run))


def stored_steps(run: str | Path) -> list[tuple[int, str, Callable[[], nn.Module]]]:
    """Step, name and maker of each model of `snapshots`; nothing is built yet."""
    run = Path(run)
    settings = _settings(run)
    files = sorted((run / "work").glob("step_*.safetensors"))
    if not files:
        raise InputError(f"{run / 'work'} holds no step_*.safetensors: the run kept no step yet.")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(run)
    except (OSError, ValueError) as error:
        raise InputError(f"The tokenizer of the run {run} cannot be loaded ({error}).") from error

    def make(file: Path | None) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            model = cast(Host, build_model(settings))  # seeds the generator
        model.name_or_path = run.resolve().name
        model.tokenizer = tokenizer
        if file is not None:
            load_weights(model, file)
        return model.eval()

    kept = [(int(file.stem.removeprefix("step_")), file.stem, file) for file in files]
    every = [(0, "the start of the run", None), *sorted(kept)]
    return [(step, name, partial(make, file)) for step, name, file in every]


def _settings(run: Path) -> Settings:
    """The run's settings, or an error that says what the file is not."""
    try:
        return read_settings(run / "settings.json")
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, SatlensError):
            raise
        raise InputError(
            f"{run / 'settings.json'} holds no settings of python -m satlens.zoo.train ({error!r})."
        ) from error
