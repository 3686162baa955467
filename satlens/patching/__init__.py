"""Put a saturated state into another token's stream: does the next stage begin earlier?"""

from satlens.patching.intervene import Edit, intervene
from satlens.patching.pairs import Pairs, find_pairs

__all__ = ["Edit", "Pairs", "find_pairs", "intervene"]
