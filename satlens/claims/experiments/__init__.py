"""Studies that claims are judged from and that no verb makes, by their names."""

from satlens.claims.experiments.base import Experiment, stored_or_made
from satlens.claims.experiments.fresh import UNTRAINED
from satlens.claims.experiments.packing import PACKING
from satlens.claims.experiments.scan_snap import SCAN_SNAP
from satlens.claims.experiments.sparse import SPARSE

EXPERIMENTS: dict[str, Experiment] = {
    "untrained": UNTRAINED,
    "packing": PACKING,
    "sparse": SPARSE,
    "scan_snap": SCAN_SNAP,
}

__all__ = ["EXPERIMENTS", "Experiment", "stored_or_made"]
