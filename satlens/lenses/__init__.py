"""A residual state -> output scores."""

from satlens.lenses.base import Lens, LinearLens, check_model
from satlens.lenses.documents import split_documents, split_several
from satlens.lenses.fitter import ShortcutFitter
from satlens.lenses.linear import LinearMap, LinearShortcut
from satlens.lenses.logit import LogitLens
from satlens.lenses.quality import Quality, measure
from satlens.lenses.submodule_maps import SubmoduleMaps
from satlens.lenses.summary import ShortcutReport, report
from satlens.lenses.tolerance import tolerance
from satlens.lenses.trainer import TunedLensTrainer
from satlens.lenses.tuned import TunedLens

__all__ = [
    "Lens",
    "LinearLens",
    "LinearMap",
    "LinearShortcut",
    "LogitLens",
    "Quality",
    "ShortcutFitter",
    "ShortcutReport",
    "SubmoduleMaps",
    "TunedLens",
    "TunedLensTrainer",
    "check_model",
    "measure",
    "report",
    "split_documents",
    "split_several",
    "tolerance",
]
