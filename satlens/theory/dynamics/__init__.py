"""Scan and Snap: how one attention layer learns which tokens to read (Tian et al. 2023)."""

from satlens.theory.dynamics.claims import Claim, judge_sweep
from satlens.theory.dynamics.freeze import freeze_step
from satlens.theory.dynamics.one_layer import Training, train_one_layer
from satlens.theory.dynamics.sequences import Sequences
from satlens.theory.dynamics.sweep import RateSweep, sweep_rates

__all__ = [
    "Claim",
    "RateSweep",
    "Sequences",
    "Training",
    "freeze_step",
    "judge_sweep",
    "sweep_rates",
    "train_one_layer",
]
