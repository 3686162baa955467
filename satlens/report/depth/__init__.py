"""Depth: where a model's blocks go, beside nulls and what theory says."""
