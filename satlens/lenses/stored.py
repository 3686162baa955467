"""Learned lenses on disk (see `satlens.storage`), each with the identity of its model.

A file is only laid on the model it was learned on: `satlens.lenses.identity.ModelIdentity` says which.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from satlens.lenses.identity import ModelIdentity
from satlens.lenses.linear import LinearMap, LinearShortcut
from satlens.lenses.tuned import TunedLens
from satlens.models.protocol import ResidualModel
from satlens.storage import Stored, Wanted, names
from satlens.version import __version__

SHORTCUT = Stored("satlens.LinearShortcut/1", "shortcut", "LinearShortcut.save")
TUNED = Stored("satlens.TunedLens/1", "tuned lens", "TunedLens.save")


def save_shortcut(lens: LinearShortcut, path: str | Path) -> None:
    """Write a shortcut (see `LinearShortcut.save`); a tensor that several maps share is written once."""
    number: dict[int, str] = {}
    arrays: dict[str, np.ndarray] = {}
    maps = []
    for (i, j), one in lens.maps.items():
        for tensor in one.tensors:
            if id(tensor) not in number:
                number[id(tensor)] = f"tensor{len(number)}"
                arrays[number[id(tensor)]] = array_of(tensor)
        maps.append({
            "from": i, "to": j, "factors": [number[id(factor)] for factor in one.factors],
            "bias": None if one.bias is None else number[id(one.bias)], "residual": one.residual,
        })  # fmt: skip
    said = {
        "name": lens.name, "model": lens.identity.to_dict(), "settings": dict(lens.settings),
        "maps": maps, "tensors": described(arrays), "versions": versions(),
    }  # fmt: skip
    SHORTCUT.save(path, arrays, said)


def load_shortcut(path: str | Path, model: ResidualModel) -> LinearShortcut:
    """Read what `save_shortcut` wrote (see `LinearShortcut.load`)."""
    said, raw = SHORTCUT.read(path)
    identity = ModelIdentity(**said["model"])
    identity.check(model, f"The shortcut {names(path)[1]}")
    arrays = SHORTCUT.arrays(path, raw, wanted(said["tensors"]))
    tensors = {name: tensor_of(values, model) for name, values in arrays.items()}
    maps = {
        (one["from"], one["to"]): LinearMap(
            tuple(tensors[name] for name in one["factors"]),
            None if one["bias"] is None else tensors[one["bias"]],
            one["residual"],
        )
        for one in said["maps"]
    }
    return LinearShortcut(model, maps, said["settings"], said["name"], identity)


def save_tuned(lens: TunedLens, path: str | Path) -> None:
    """Write a tuned lens (see `TunedLens.save`)."""
    arrays = {"weight": array_of(lens.weight), "bias": array_of(lens.bias)}
    said = {
        "name": lens.name, "model": lens.identity.to_dict(), "settings": dict(lens.settings),
        "tensors": described(arrays), "versions": versions(),
    }  # fmt: skip
    TUNED.save(path, arrays, said)


def load_tuned(path: str | Path, model: ResidualModel) -> TunedLens:
    """Read what `save_tuned` wrote (see `TunedLens.load`)."""
    said, raw = TUNED.read(path)
    identity = ModelIdentity(**said["model"])
    identity.check(model, f"The tuned lens {names(path)[1]}")
    arrays = TUNED.arrays(path, raw, wanted(said["tensors"]))
    weight, bias = (tensor_of(arrays[name], model) for name in ("weight", "bias"))
    return TunedLens(model, weight, bias, said["settings"], said["name"], identity)


def array_of(tensor: Tensor) -> np.ndarray:
    """A copy on the CPU, contiguous."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def tensor_of(values: np.ndarray, model: ResidualModel) -> Tensor:
    """The tensor, where the model is."""
    return torch.from_numpy(values).to(model.device)


def described(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Type and shape of every array, for the JSON."""
    return {name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in arrays.items()}


def wanted(said: dict[str, Any]) -> Wanted:
    """The same, as `satlens.storage` asks for it."""
    return {name: (np.dtype(one["dtype"]), tuple(one["shape"])) for name, one in said.items()}


def versions() -> dict[str, str]:
    """Of what the numbers were made with."""
    return {"satlens": __version__, "torch": torch.__version__, "numpy": np.__version__}
