"""What theory says of depth, to be held against what is measured."""

from satlens.theory.depth import (
    recommended_depth,
    recommended_width,
    size_at,
    threshold_depth,
)

__all__ = ["recommended_depth", "recommended_width", "size_at", "threshold_depth"]
