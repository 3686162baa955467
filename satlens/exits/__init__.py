"""Early exit: after which block can a token leave, and what does that save?"""

from satlens.exits.policy import Peek, Policy, ThresholdPolicy, leaving

__all__ = ["Peek", "Policy", "ThresholdPolicy", "leaving"]
