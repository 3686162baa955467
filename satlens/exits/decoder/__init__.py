"""The host's blocks, computed from its weights: what a loop that stops early calls in place of the host."""
