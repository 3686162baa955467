"""Put a saturated state into another token's stream: does the next stage begin earlier?"""

from satlens.patching.directions import KINDS as DIRECTIONS
from satlens.patching.directions import Directions, directions
from satlens.patching.donors import CONDITIONS
from satlens.patching.effects import Resampling
from satlens.patching.intervene import Edit, Handle, Intervention, intervene
from satlens.patching.pairs import Pairs, find_pairs
from satlens.patching.patch import patch
from satlens.patching.result import PatchingResult
from satlens.patching.steer import steer
from satlens.patching.steered import SteeringResult
from satlens.patching.summary import PatchingReport, report

__all__ = [
    "CONDITIONS",
    "DIRECTIONS",
    "Directions",
    "Edit",
    "Handle",
    "Intervention",
    "Pairs",
    "PatchingReport",
    "PatchingResult",
    "Resampling",
    "SteeringResult",
    "directions",
    "find_pairs",
    "intervene",
    "patch",
    "report",
    "steer",
]
