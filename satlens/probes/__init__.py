"""Can the stage, the rank a state is working on, be read off the residual stream by a linear probe?"""

from satlens.probes.collect import Collected, StateCollector, collect
from satlens.probes.comparison import Control
from satlens.probes.controls import NAMES as CONTROLS
from satlens.probes.crossval import cross_validate
from satlens.probes.features import final_features
from satlens.probes.probe import StageProbe
from satlens.probes.sampling import StageSampler
from satlens.probes.scores import Predictions, Probed
from satlens.probes.stages import Policy, StageCounts, StageLabels, stage_labels
from satlens.probes.states import StageStates, matched
from satlens.probes.summary import ProbeReport, evaluate, report

__all__ = [
    "CONTROLS",
    "Collected",
    "Control",
    "Policy",
    "Predictions",
    "ProbeReport",
    "Probed",
    "StageCounts",
    "StageLabels",
    "StageProbe",
    "StageSampler",
    "StageStates",
    "StateCollector",
    "collect",
    "cross_validate",
    "evaluate",
    "final_features",
    "matched",
    "report",
    "stage_labels",
]
