"""A probe: whether the state tells its stage."""
