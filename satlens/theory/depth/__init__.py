"""How deep should a model be, and where does its depth go?"""

from satlens.theory.depth.beyond import Beyond, beyond, by_shape
from satlens.theory.depth.limits import (
    recommended_depth,
    recommended_width,
    size_at,
    threshold_depth,
)
from satlens.theory.depth.spent import Spent, spent
from satlens.theory.depth.summary import DepthReport, report

__all__ = [
    "Beyond",
    "DepthReport",
    "Spent",
    "beyond",
    "by_shape",
    "recommended_depth",
    "recommended_width",
    "report",
    "size_at",
    "spent",
    "threshold_depth",
]
