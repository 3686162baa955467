"""A residual state -> output scores."""

from satlens.lenses.base import Lens
from satlens.lenses.logit import LogitLens

__all__ = ["Lens", "LogitLens"]
