"""A residual state -> output scores."""

from satlens.lenses.base import Lens, LinearLens
from satlens.lenses.logit import LogitLens

__all__ = ["Lens", "LinearLens", "LogitLens"]
