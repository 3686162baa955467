"""A probe on disk (see `satlens.storage`): classes, settings, versions, the numbers of its regressions."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from satlens.storage import Stored
from satlens.version import __version__

if TYPE_CHECKING:
    from satlens.probes.probe import StageProbe

STORED = Stored("satlens.StageProbe/1", "probe", "StageProbe.save")
TENSORS = {"mean": np.float64, "scale": np.float64, "coef": np.float32, "intercept": np.float32}


def save(probe: "StageProbe", path: str | Path) -> None:
    """Write a fitted probe (see `StageProbe.save`)."""
    arrays = {name: getattr(probe, f"{name}_").astype(kind) for name, kind in TENSORS.items()}
    said = {
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
    }
    STORED.save(path, arrays, said)


def load(path: str | Path) -> "StageProbe":
    """Read what `save` wrote (see `StageProbe.load`)."""
    from satlens.probes.probe import StageProbe

    said, raw = STORED.read(path)
    layers, classes, width = len(said["layers"]), len(said["classes"]), said["width"]
    shapes = {
        "mean": (layers, width),
        "scale": (layers, width),
        "coef": (layers, classes, width),
        "intercept": (layers, classes),
    }
    wanted = {name: (np.dtype(TENSORS[name]), shape) for name, shape in shapes.items()}
    arrays = STORED.arrays(path, raw, wanted)
    probe = StageProbe(**said["params"])
    probe.classes_ = np.array(said["classes"])
    probe.layers_ = np.array(said["layers"])
    probe.n_features_in_ = said["width"]
    probe.notes_ = said["notes"]
    for name, values in arrays.items():
        setattr(probe, f"{name}_", values)
    return probe
