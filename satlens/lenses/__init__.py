"""A residual state -> output scores."""

from satlens.lenses.base import Lens, LinearLens
from satlens.lenses.fitter import ShortcutFitter
from satlens.lenses.linear import LinearMap, LinearShortcut
from satlens.lenses.logit import LogitLens
from satlens.lenses.submodule_maps import SubmoduleMaps
from satlens.lenses.trainer import TunedLensTrainer
from satlens.lenses.tuned import TunedLens

__all__ = [
    "Lens",
    "LinearLens",
    "LinearMap",
    "LinearShortcut",
    "LogitLens",
    "ShortcutFitter",
    "SubmoduleMaps",
    "TunedLens",
    "TunedLensTrainer",
]
