"""The checkpoints that `satlens.zoo.train` keeps, as models: `snapshots`."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from satlens.errors import InputError
from satlens.zoo.checkpoint import load_weights
from satlens.zoo.model import build_model
from satlens.zoo.settings import read_settings


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
    run = Path(run)
    settings = read_settings(run / "settings.json")
    files = sorted((run / "work").glob("step_*.safetensors"))
    if not files:
        raise InputError(f"{run / 'work'} holds no step_*.safetensors: the run kept no step yet.")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run)

    def fresh() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            model = build_model(settings)  # seeds the generator
        model.name_or_path = run.name
        model.tokenizer = tokenizer
        return model.eval()

    def steps() -> Iterator[tuple[int, nn.Module]]:
        yield 0, fresh()
        for file in files:
            model = fresh()
            load_weights(model, file)
            yield int(file.stem.removeprefix("step_")), model
            del model

    return steps()
