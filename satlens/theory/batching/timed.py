"""Batches that `satlens.exits.generate` runs, order against order, beside what the simulation says of them.

    seconds of a batch = c_0 steps + c_1 sum of the deepest blocks + c_2 sum of all rows' blocks + c_3 prompt

The four numbers, none below 0, are fitted to batches of other compositions (least squares of relative errors)
and make a `Clock`; so what is compared is what the order of the requests does, not how fast the machine is.
Seconds are CPU time, of one thread where torch runs on one. The orders take turns in every round.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import nnls

from satlens.errors import InputError
from satlens.exits.generation.generate import generate
from satlens.models.wrap import wrap
from satlens.theory.batching.machine import Clock, Machine
from satlens.theory.batching.requests import Requests
from satlens.theory.batching.scheduler import Scheduler
from satlens.theory.batching.simulate import Served, simulate

Batch = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Timed:
    """One order of the requests.

    Attributes:
        batches: requests that ran together.
        seconds: of all batches, by round, prompts included.
        simulated: seconds that the clock gives them.
        wasted: share of block-steps that are deeper neighbours', as simulated.
    """

    batches: tuple[Batch, ...]
    seconds: Float[ndarray, " round"]
    simulated: float
    wasted: float


def served_whole(requests: Requests, scheduler: Scheduler, clock: Clock, rows: int) -> Served:
    """All there at once, memory for all, each batch to its end before the next: what `time_orders` runs."""
    most = int(requests.length.max())
    memory = int((requests.prompt + most).sum())
    machine = Machine(clock, memory, rows, most)
    return simulate(requests.at(np.zeros(len(requests))), scheduler.whole_batches(), machine)


def time_orders(
    model: Any,
    prompts: Sequence[Any],
    policy: Any,
    requests: Requests,
    schedulers: Sequence[Scheduler],
    clock: Clock,
    *,
    rows: int = 8,
    rounds: int = 3,
) -> Mapping[str, Timed]:
    """Run the batches that each scheduler makes, in turns.

    Args:
        prompts: of the requests, in their order. policy: the one whose exits the requests have.
        clock: from `fit_clock`.
        rows: of a batch.

    Raises:
        InputError: another number of prompts than of requests, no rounds, what `generate` refuses.
    """
    if len(prompts) != len(requests) or rounds < 1:
        raise InputError(
            f"There are {len(requests)} requests and {len(prompts)} prompts, and {rounds} rounds to run; "
            "give one prompt a request, and a round or more."
        )
    model = wrap(model)
    served = {one.name: served_whole(requests, one, clock, rows) for one in schedulers}
    most = int(requests.length.max())
    seconds: dict[str, list[float]] = {name: [] for name in served}
    for _ in range(rounds):
        for name, one in served.items():
            spent = [run_batch(model, prompts, own, policy, most) for own in one.batches]
            seconds[name].append(sum(spent))
    return {
        name: Timed(one.batches, np.array(seconds[name]), one.seconds, one.wasted)
        for name, one in served.items()
    }


def run_batch(
    model: Any, prompts: Sequence[Any], batch: Sequence[int], policy: Any, most: int
) -> float:
    """CPU seconds of these prompts together, up to ``most`` tokens each."""
    gc.collect()
    began = time.process_time()
    generate(model, [prompts[i] for i in batch], policy, max_new_tokens=most, batch_size=len(batch))
    return time.process_time() - began


def counts(requests: Requests, batch: Sequence[int]) -> Float[ndarray, "4"]:
    """Steps, deepest blocks, rows' blocks and prompt positions of a batch that runs to its end.

    >>> asked = Requests([5, 2], [[3, 0, 1], [3, 2]], n_layers=4)
    >>> counts(asked, [0, 1]).tolist()
    [2.0, 5.0, 6.0, 7.0]
    """
    exits = [requests.exits[i][1:] + 1 for i in batch]
    steps = max(len(own) for own in exits)
    deepest = sum(max(own[k] for own in exits if len(own) > k) for k in range(steps))
    blocks = sum(int(own.sum()) for own in exits)
    return np.array([steps, deepest, blocks, requests.prompt[list(batch)].sum()], float)


def fit_clock(
    counted: Float[ndarray, "batch 4"], seconds: Float[ndarray, " batch"], n_layers: int
) -> Clock:
    """The clock of the module, from `counts` of some batches and the seconds that they took.

    Raises:
        InputError: fewer than 4 batches, or times that are not above 0.

    Example:
        >>> counted = np.array([[9, 90, 90, 8], [9, 40, 90, 8], [4, 40, 99, 8], [4, 9, 9, 64.0]])
        >>> clock = fit_clock(counted, counted @ [0.1, 0.2, 0.3, 0.4], n_layers=3)
        >>> clock.once.round(3).tolist(), clock.row.round(3).tolist(), round(clock.position, 3)
        ([0.3, 0.5, 0.7], [0.3, 0.6, 0.9], 0.4)
    """
    counted, seconds = np.asarray(counted, float), np.asarray(seconds, float)
    if counted.ndim != 2 or counted.shape[1] != 4 or len(counted) < 4 or not (seconds > 0).all():
        raise InputError(
            f"A clock is fitted to counts [batch, 4] and seconds above 0 of 4 batches or more; got shapes "
            f"{counted.shape} and {seconds.shape}."
        )
    weights, _ = nnls(counted / seconds[:, None], np.ones(len(seconds)))
    step, block, row, position = weights.tolist()
    blocks, none = np.arange(1, n_layers + 1), np.zeros(n_layers)
    return Clock(step + block * blocks, row * blocks, none, none, 0.0, position)
