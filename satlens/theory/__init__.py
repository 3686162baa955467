"""What theory says of depth, and of how a model learns, to be held against what is measured."""

from satlens.theory.depth import (
    recommended_depth,
    recommended_width,
    size_at,
    threshold_depth,
)
from satlens.theory.dynamics import (
    RateSweep,
    Sequences,
    Training,
    freeze_step,
    judge_sweep,
    sweep_rates,
    train_one_layer,
)
from satlens.theory.tracking import (
    Checkpoint,
    Checkpoints,
    Track,
    checkpoints,
    snapshots,
    track,
)

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "RateSweep",
    "Sequences",
    "Track",
    "Training",
    "checkpoints",
    "freeze_step",
    "judge_sweep",
    "recommended_depth",
    "recommended_width",
    "size_at",
    "snapshots",
    "sweep_rates",
    "threshold_depth",
    "track",
    "train_one_layer",
]
