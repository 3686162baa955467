"""Train the bundled model: ``python -m satlens.zoo.train --data DIR --out DIR``.

The weights are a function of the data, the settings, the library versions and the processor:
each step draws its crops and its dropout from the seed and its own number, so a run that is
stopped and resumed gives the same weights as one that is not (with the same number of threads).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import safetensors
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer
from torch import nn

from satlens.errors import InputError
from satlens.zoo.checkpoint import load_state, save_state, save_weights
from satlens.zoo.data import (
    SOURCES,
    Stream,
    data_folder,
    encode_documents,
    make_split,
    save_tokenizer,
    train_tokenizer,
)
from satlens.zoo.export import export
from satlens.zoo.model import (
    Network,
    add_dropout,
    batch_loss,
    build_model,
    document_nats,
    learning_rate,
    make_optimizers,
)
from satlens.zoo.settings import Settings, read_settings

logger = logging.getLogger(__name__)

BUNDLED = Settings()
"""The settings of "tiny"."""


def versions() -> dict[str, str]:
    """Versions of the libraries that the weights depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "safetensors": safetensors.__version__,
    }


def prepare(
    data: Path, out: Path, settings: Settings
) -> tuple[Tokenizer, Stream, dict[str, list[list[int]]]]:
    """Split, tokenizer, training stream and encoded held-out documents; writes the records."""
    split = make_split(data, settings)
    tokenizer = train_tokenizer(split, settings.vocab)
    if tokenizer.get_vocab_size() != settings.vocab:
        raise InputError(
            f"The training part yields a vocabulary of {tokenizer.get_vocab_size()}, "
            f"{settings.vocab} was asked for; give more text or a smaller vocab."
        )
    save_tokenizer(tokenizer, out, settings.context)
    train = {s: encode_documents(tokenizer, split.train[s]) for s in SOURCES}
    held_out = {s: encode_documents(tokenizer, split.held_out[s]) for s in SOURCES}
    record = {
        "settings": settings.to_dict(),
        "versions": versions(),
        "documents": {
            part: {s: len(ids[s]) for s in SOURCES}
            for part, ids in (("train", train), ("held_out", held_out))
        },
        "tokens": {
            part: {s: sum(len(d) - 1 for d in ids[s]) for s in SOURCES}
            for part, ids in (("train", train), ("held_out", held_out))
        },
    }
    write_json(record, out / "settings.json")
    return tokenizer, Stream(train, settings), held_out


def write_json(value: dict[str, Any], path: Path) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def held_out_loss(
    model: Network, held_out: dict[str, list[list[int]]], settings: Settings
) -> dict[str, float]:
    """Mean nats per token over the held-out documents, by source and over both."""
    nats, tokens = {}, {}
    for source in SOURCES:
        with precision(settings):
            nats[source] = float(document_nats(model, held_out[source], settings.context).sum())
        tokens[source] = sum(len(ids) - 1 for ids in held_out[source])
    loss = {source: nats[source] / tokens[source] for source in SOURCES}
    return {**loss, "both": sum(nats.values()) / sum(tokens.values())}


def precision(settings: Settings) -> contextlib.AbstractContextManager[Any]:
    """Products in bfloat16 where the settings ask for it."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.autocast)


def snapshot_steps(settings: Settings) -> set[int]:
    """Log-spaced steps from 10 (or 1) to the last."""
    first = min(10, settings.steps)
    count = max(1, settings.snapshots - 1)
    ratio = settings.steps / first
    return {round(first * ratio ** (k / count)) for k in range(count + 1)}


def training_step(
    model: Network,
    optimizers: list[torch.optim.Optimizer],
    stream: Stream,
    step: int,
) -> float:
    """One update; returns the loss (nats per token) of its batch."""
    settings = stream.settings
    # Dropout masks from the seed and the step: nothing to store for a resume.
    torch.manual_seed(settings.seed * 1_000_003 + step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        optimizer.zero_grad(set_to_none=True)
    with precision(settings):
        loss = batch_loss(model, stream.batch(step))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


def train(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    stop_at: int | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Run to ``settings.steps`` (or to ``stop_at``, or for ``minutes``) and return the progress.

    Writes under ``out``: the tokenizer, ``settings.json``, and in ``work/`` the state to resume
    from (``last``), the weights of the lowest held-out loss (``best``) and the snapshots.
    """
    torch.set_num_threads(settings.threads)
    work = out / "work"
    _, stream, held_out = prepare(data, out, settings)
    model = build_model(settings)
    add_dropout(model, settings.dropout)
    optimizers = make_optimizers(model, settings)
    progress: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": None, "history": []}
    if resume:
        progress = load_state(model, optimizers, work / "last.safetensors")
    began = time.monotonic() - progress["seconds"]
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    end = min(settings.steps, stop_at or settings.steps)
    keep = snapshot_steps(settings)
    model.train()
    losses: list[float] = []
    for step in range(progress["step"], end):
        losses.append(training_step(model, optimizers, stream, step))
        progress["step"], progress["seconds"] = step + 1, time.monotonic() - began
        if step + 1 in keep:
            save_weights(model, work / f"step_{step + 1:06d}.safetensors", {"step": step + 1})
        if (step + 1) % 50 == 0:
            logger.info("step %d  loss %.4f  %.0f s", step + 1, losses[-1], progress["seconds"])
        if (step + 1) % settings.eval_every == 0 or step + 1 == settings.steps:
            _evaluate(model, held_out, settings, progress, losses, work)
            losses = []
            save_state(model, optimizers, progress, work / "last.safetensors")
        if deadline is not None and time.monotonic() > deadline:
            logger.info("stopped at step %d after %.1f minutes", step + 1, minutes)
            break
    save_state(model, optimizers, progress, work / "last.safetensors")
    return progress


def _evaluate(
    model: Network,
    held_out: dict[str, list[list[int]]],
    settings: Settings,
    progress: dict[str, Any],
    losses: list[float],
    work: Path,
) -> None:
    """Append a row to the history and keep the weights if they are the best so far."""
    loss = held_out_loss(model, held_out, settings)
    row = {
        "step": progress["step"],
        "tokens": progress["step"] * settings.batch * settings.context,
        "train": sum(losses) / len(losses),
        "held_out": loss,
    }
    progress["history"].append(row)
    logger.info("held-out %s  train %.4f", json.dumps(loss), row["train"])
    if progress["best"] is None or loss["both"] < progress["best"]["both"]:
        progress["best"] = {"step": progress["step"], **loss}
        save_weights(model, work / "best.safetensors", progress["best"])


def parse(
    arguments: list[str] | None, defaults: Settings, prog: str, description: str | None
) -> argparse.Namespace:
    """Command line: one option for each setting, and where to read and write."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--data", default=None, help="folder of the two text files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--minutes", type=float, default=None, help="stop, resumable, after this")
    for field in dataclasses.fields(Settings):
        name = "--" + field.name.replace("_", "-")
        default = getattr(defaults, field.name)
        kind = type(default)
        if kind is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(name, type=kind, default=default)
    return parser.parse_args(arguments)


def main(
    arguments: list[str] | None = None,
    defaults: Settings = BUNDLED,
    prog: str = "python -m satlens.zoo.train",
    description: str | None = __doc__,
) -> None:
    """Entry point: train, then write the model folder."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    options = parse(arguments, defaults, prog, description)
    names = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: getattr(options, name) for name in names})
    if options.resume:
        settings = read_settings(options.out / "settings.json")
    data = data_folder(options.data, settings)
    progress = train(data, options.out, settings, resume=options.resume, minutes=options.minutes)
    if progress["step"] == settings.steps:  # else it stopped at --minutes, to be resumed
        losses = export(data, options.out)["held_out"]["both"]
        told = {name: losses[name]["nats_per_token"] for name in ("model", "trigram", "unigram")}
        logger.info("held-out nats per token %s", json.dumps(told))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
