"""A shortcut: what early layers know of the final output through each lens."""
