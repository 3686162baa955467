"""Can the stage, the rank a state is working on, be read off the residual stream by a linear probe?"""

from satlens.probes.crossval import cross_validate
from satlens.probes.features import final_features
from satlens.probes.probe import StageProbe
from satlens.probes.sampling import StageSampler
from satlens.probes.scores import Predictions, Probed
from satlens.probes.stages import Policy, StageCounts, StageLabels, stage_labels
from satlens.probes.states import StageStates, matched

__all__ = [
    "Policy",
    "Predictions",
    "Probed",
    "StageCounts",
    "StageLabels",
    "StageProbe",
    "StageSampler",
    "StageStates",
    "cross_validate",
    "final_features",
    "matched",
    "stage_labels",
]
