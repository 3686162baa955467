"""Training state in one safetensors file: weights, optimizer moments, step and history."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from satlens.errors import InputError


def save_weights(model: nn.Module, path: Path, meta: dict[str, Any] | None = None) -> None:
    """The parameters, each once (the tied unembedding is the embedding)."""
    _write({name: p.detach() for name, p in model.named_parameters()}, meta or {}, path)


def load_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Put stored parameters into the model; returns what was stored beside them."""
    tensors, meta = _read(path)
    _copy_parameters(model, tensors, path)
    return meta


def save_state(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    meta: dict[str, Any],
    path: Path,
) -> None:
    """All that the next step depends on.

    No generator state is stored: crops and dropout are drawn from the seed and the step.
    """
    tensors = {f"model/{name}": p.detach() for name, p in model.named_parameters()}
    for number, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer/{number}/{index}/{key}"] = torch.as_tensor(value)
    _write(tensors, meta, path)


def load_state(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path
) -> dict[str, Any]:
    """The inverse of :func:`save_state`; returns the stored ``meta``.

    Without optimizers only the weights are taken.
    """
    tensors, meta = _read(path)
    own = {name[6:]: value for name, value in tensors.items() if name.startswith("model/")}
    _copy_parameters(model, own, path)
    states: dict[int, dict[int, dict[str, torch.Tensor]]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, number, index, key = name.split("/")
            states.setdefault(int(number), {}).setdefault(int(index), {})[key] = value
    if optimizers and len(states) != len(optimizers):
        raise InputError(
            f"{path} holds the state of {len(states)} optimizers, the settings make "
            f"{len(optimizers)}. Resume with the settings the run began with."
        )
    for number, optimizer in enumerate(optimizers):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states[number]})
    return meta


def _copy_parameters(model: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    own = dict(model.named_parameters())
    odd = sorted(own.keys() ^ tensors.keys()) + sorted(
        name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape
    )
    if odd:
        raise InputError(
            f"{path} does not fit the model: {len(odd)} parameters are missing, extra or of "
            f"another shape, first {odd[0]}. Resume with the settings the run began with."
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


def _write(tensors: dict[str, torch.Tensor], meta: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replaced in one move: a stop while writing leaves the previous file whole.
    partial = path.with_suffix(".partial")
    own = {name: value.contiguous() for name, value in tensors.items()}
    save_file(own, partial, metadata={"meta": json.dumps(meta)})
    os.replace(partial, path)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"No checkpoint at {path}; start the run without --resume.")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["meta"])
