"""Learned token routing: which tokens may skip which blocks."""

from satlens.routing.gates import Decisions, TokenGates, tlops_saved

__all__ = ["Decisions", "TokenGates", "tlops_saved"]
