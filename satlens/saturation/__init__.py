"""Residual states -> the layer from which each rank is fixed."""

from satlens.saturation.detect import detect
from satlens.saturation.events import SaturationEvents

__all__ = ["SaturationEvents", "detect"]
