"""A probe on disk: ``path.safetensors`` (numbers) and ``path.json`` (what they are). Never a pickle.

The JSON holds the classes, the settings, the versions, the SHA-256 of the tensors' file, and the SHA-256 of
itself without that last entry: a pair that does not belong together, was cut short or edited is refused.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from satlens.errors import InputError
from satlens.files import whole_file
from satlens.version import __version__

if TYPE_CHECKING:
    from satlens.probes.probe import StageProbe

FORMAT = "satlens.StageProbe/1"
TENSORS = {"mean": np.float64, "scale": np.float64, "coef": np.float32, "intercept": np.float32}
ADVICE = "Save the probe again, or take an unchanged copy of both files."


def save(probe: "StageProbe", path: str | Path) -> None:
    """Write a fitted probe (see `StageProbe.save`)."""
    tensors_file, json_file = _names(path)
    arrays = {name: getattr(probe, f"{name}_").astype(kind) for name, kind in TENSORS.items()}
    raw = tensor_bytes(arrays, metadata={"format": FORMAT})
    said = {
        "format": FORMAT,
        "classes": probe.classes_.tolist(),
        "layers": probe.layers_.tolist(),
        "width": probe.n_features_in_,
        "params": probe.get_params(),
        "notes": probe.notes_,
        "versions": {
            "satlens": __version__,
            "scikit-learn": version("scikit-learn"),
            "numpy": np.__version__,
        },
        "tensors_sha256": hashlib.sha256(raw).hexdigest(),
    }
    said["sha256"] = _digest(said)
    with whole_file(tensors_file) as tensors, whole_file(json_file) as text:
        tensors.write_bytes(raw)
        text.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def load(path: str | Path) -> "StageProbe":
    """Read what `save` wrote (see `StageProbe.load`)."""
    from satlens.probes.probe import StageProbe

    tensors_file, json_file = _names(path)
    said = _read_json(json_file)
    raw = _bytes(tensors_file)
    found = hashlib.sha256(raw).hexdigest()
    if found != said["tensors_sha256"]:
        raise InputError(
            f"{tensors_file} is not the file that {json_file.name} was written with: its SHA-256 is "
            f"{found[:12]}.., expected {str(said['tensors_sha256'])[:12]}... It was changed, cut short "
            f"or exchanged. {ADVICE}"
        )
    arrays = _tensors(raw, tensors_file, said)
    probe = StageProbe(**said["params"])
    probe.classes_ = np.array(said["classes"])
    probe.layers_ = np.array(said["layers"])
    probe.n_features_in_ = said["width"]
    probe.notes_ = said["notes"]
    for name, values in arrays.items():
        setattr(probe, f"{name}_", values)
    return probe


def _names(path: str | Path) -> tuple[Path, Path]:
    """Both files of a probe; the name of either stands for the pair."""
    path = Path(path)
    if path.suffix in (".json", ".safetensors"):
        path = path.with_suffix("")
    return path.with_name(path.name + ".safetensors"), path.with_name(path.name + ".json")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"Cannot read {file}: {error.strerror or error}. A probe is the pair NAME.safetensors and "
            "NAME.json that StageProbe.save(NAME) writes."
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    raw = _bytes(file)
    try:
        said = json.loads(raw)
    except ValueError as error:
        raise InputError(f"{file} is no JSON ({error}). {ADVICE}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        what = said.get("format") if isinstance(said, dict) else type(said).__name__
        raise InputError(f"{file} holds no probe of satlens: format is {what!r}, not {FORMAT!r}.")
    told = said.pop("sha256", None)
    if told != _digest(said):
        raise InputError(
            f"{file} was changed after it was written: its own SHA-256 does not fit. {ADVICE}"
        )
    return said


def _digest(said: dict[str, Any]) -> str:
    """SHA-256 of the entries, whatever the spaces and the order in the file."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _tensors(raw: bytes, file: Path, said: dict[str, Any]) -> dict[str, ndarray]:
    """The arrays, in the names, types and shapes that the JSON asks for."""
    try:
        arrays = read_tensors(raw)
    except SafetensorError as error:
        raise InputError(f"{file} is no safetensors file ({error}). {ADVICE}") from error
    layers, classes, width = len(said["layers"]), len(said["classes"]), said["width"]
    shapes = {
        "mean": (layers, width),
        "scale": (layers, width),
        "coef": (layers, classes, width),
        "intercept": (layers, classes),
    }
    wanted = {name: (np.dtype(TENSORS[name]), shape) for name, shape in shapes.items()}
    found = {name: (values.dtype, values.shape) for name, values in arrays.items()}
    if found != wanted:
        raise InputError(f"{file} holds {found}; a probe of this kind holds {wanted}. {ADVICE}")
    return {name: np.array(values) for name, values in arrays.items()}
