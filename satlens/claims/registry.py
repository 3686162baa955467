"""Every claim by its id."""

from satlens.claims import (
    beyond_top1,
    depth_limits,
    length_batching,
    scan_and_snap,
    shortcuts,
    token_routing,
)
from satlens.claims.claim import Claim

PAPERS = (beyond_top1, shortcuts, token_routing, depth_limits, scan_and_snap, length_batching)
CLAIMS: dict[str, Claim] = {claim.id: claim for paper in PAPERS for claim in paper.CLAIMS}
"""In the order of the tables."""
