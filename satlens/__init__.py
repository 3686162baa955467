"""From which layer on does the model know? Top-k saturation for TransformerLens models."""

from satlens import exits, lenses, order, patching, probes, reranking, routing, survey, theory
from satlens.lenses import LinearShortcut, LogitLens, TunedLens
from satlens.models import ResidualModel, load_model, untrained, wrap
from satlens.probes import StageProbe
from satlens.saturation import SaturationEvents, detect
from satlens.version import __version__

__all__ = [
    "LinearShortcut",
    "LogitLens",
    "ResidualModel",
    "SaturationEvents",
    "StageProbe",
    "TunedLens",
    "__version__",
    "detect",
    "exits",
    "lenses",
    "load_model",
    "order",
    "patching",
    "probes",
    "reranking",
    "routing",
    "survey",
    "theory",
    "untrained",
    "wrap",
]
