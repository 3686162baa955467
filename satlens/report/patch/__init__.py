"""A patch: whether the next stage can be forced."""
