"""Learned token routing: which tokens may skip which blocks."""

from satlens.routing.evaluate import RoutingResult, evaluate_gates, evaluate_without_gates
from satlens.routing.examples import NOT_SCORED, Examples, crops, pieces
from satlens.routing.gates import Decisions, TokenGates, tlops_saved
from satlens.routing.saturation import SkipReport, skip_and_saturation
from satlens.routing.sparse import SparseForward, SparseOutput
from satlens.routing.study import RoutingReport, report
from satlens.routing.train import Training, TrainSettings, train_gates, train_without_gates

__all__ = [
    "NOT_SCORED",
    "Decisions",
    "Examples",
    "RoutingReport",
    "RoutingResult",
    "SkipReport",
    "SparseForward",
    "SparseOutput",
    "TokenGates",
    "TrainSettings",
    "Training",
    "crops",
    "evaluate_gates",
    "evaluate_without_gates",
    "pieces",
    "report",
    "skip_and_saturation",
    "tlops_saved",
    "train_gates",
    "train_without_gates",
]
