"""Batches of requests whose tokens leave at different depths: who should run with whom, and what it gives."""

from satlens.theory.batching.machine import Clock, Machine, position_bytes
from satlens.theory.batching.predict import (
    DepthPredictor,
    PredictionReport,
    assess,
    prompt_states,
)
from satlens.theory.batching.requests import ARRIVALS, Requests
from satlens.theory.batching.scheduler import SCHEDULERS, Scheduler
from satlens.theory.batching.simulate import Served, simulate
from satlens.theory.batching.study import BatchingStudy, study

__all__ = [
    "ARRIVALS",
    "SCHEDULERS",
    "BatchingStudy",
    "Clock",
    "DepthPredictor",
    "Machine",
    "PredictionReport",
    "Requests",
    "Scheduler",
    "Served",
    "assess",
    "position_bytes",
    "prompt_states",
    "simulate",
    "study",
]
