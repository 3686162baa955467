"""Early exit: after which block can a token leave, and what does that save?"""

from satlens.exits.agreement import AgreementProbe, Classifier
from satlens.exits.calibrate import Calibration, calibrate
from satlens.exits.cost import Costs, measure
from satlens.exits.evaluate import evaluate
from satlens.exits.frontier import Comparison, compare
from satlens.exits.generation.generate import generate
from satlens.exits.generation.result import Generation
from satlens.exits.halves import Entry
from satlens.exits.policies import (
    FixedLayer,
    Never,
    Patience,
    SoftmaxResponse,
    StageExit,
    StateSaturation,
)
from satlens.exits.policy import Peek, Policy, ThresholdPolicy, leaving
from satlens.exits.result import NUMBERS, ORACLE, Evaluation
from satlens.exits.study.report import ExitReport, report
from satlens.exits.sweep import sweep

__all__ = [
    "NUMBERS",
    "ORACLE",
    "AgreementProbe",
    "Calibration",
    "Classifier",
    "Comparison",
    "Costs",
    "Entry",
    "Evaluation",
    "ExitReport",
    "FixedLayer",
    "Generation",
    "Never",
    "Patience",
    "Peek",
    "Policy",
    "SoftmaxResponse",
    "StageExit",
    "StateSaturation",
    "ThresholdPolicy",
    "calibrate",
    "compare",
    "evaluate",
    "generate",
    "leaving",
    "measure",
    "report",
    "sweep",
]
