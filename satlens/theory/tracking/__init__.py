"""When in training does order appear? One row a checkpoint."""

from satlens.theory.tracking.rows import Checkpoint, Track
from satlens.theory.tracking.snapshots import snapshots
from satlens.theory.tracking.stored import Checkpoints, checkpoints
from satlens.theory.tracking.summary import DynamicsReport, report
from satlens.theory.tracking.track import track

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "DynamicsReport",
    "Track",
    "checkpoints",
    "report",
    "snapshots",
    "track",
]
