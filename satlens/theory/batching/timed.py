"""Batches that `satlens.exits.generate` runs, order against order, beside what the simulation says of them.

    seconds of a batch = c_0 steps + c_1 sum of the deepest blocks + c_2 sum of all rows' blocks + c_3 prompt

The four numbers, none below 0, are fitted to batches of other compositions (least squares of relative errors)
that run in the same rounds, and make a `Clock`; so what is compared is what the order of the requests does,
not how fast the machine is. Seconds are CPU time, of one thread where torch runs on one. All take turns batch
by batch.
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
    fitting: Sequence[Batch],
    *,
    rows: int = 8,
    rounds: int = 3,
) -> tuple[Mapping[str, Timed], Clock]:
    """Run the batches that each scheduler makes, and those that the clock is fitted to, in turns.

    Args:
        prompts: of the requests, in their order. policy: the one whose exits the requests have.
        fitting: other batches of the same requests, 4 or more, of different sizes.
        rows: of a batch.

    Returns:
        What each order took, by name of its scheduler; and the clock.

    Raises:
        InputError: another number of prompts than of requests, too few batches to fit to, no rounds, what
            `generate` refuses.
    """
    if len(prompts) != len(requests) or rounds < 1 or len(fitting) < 4:
        raise InputError(
            f"There are {len(requests)} requests and {len(prompts)} prompts, {len(fitting)} batches to fit "
            f"to and {rounds} rounds to run; give one prompt a request, 4 batches or more, a round or more."
        )
    model, none = wrap(model), np.zeros(requests.n_layers)
    still = Clock(
        none, none, none, none, 0.0, 0.0
    )  # who runs with whom does not depend on the time it takes
    plans = [served_whole(requests, one, still, rows).batches for one in schedulers]
    plans.append(tuple(fitting))
    seconds = [np.zeros((rounds, len(plan))) for plan in plans]
    most = int(requests.length.max())
    run_batch(model, prompts, fitting[0], policy, 2)  # what is built once
    for number in range(rounds):
        gc.collect()
        for place in range(max(map(len, plans))):
            for plan, spent in zip(plans, seconds, strict=True):
                if place < len(plan):
                    spent[number, place] = run_batch(model, prompts, plan[place], policy, most)
    counted = np.stack([counts(requests, own) for own in fitting])
    clock = fit_clock(counted, np.median(seconds[-1], axis=0), requests.n_layers)
    made = [served_whole(requests, one, clock, rows) for one in schedulers]
    return {
        one.name: Timed(plan, spent.sum(1), served.seconds, served.wasted)
        for one, plan, spent, served in zip(schedulers, plans, seconds, made, strict=False)
    }, clock


def run_batch(
    model: Any, prompts: Sequence[Any], batch: Sequence[int], policy: Any, most: int
) -> float:
    """CPU seconds of these prompts together, up to ``most`` tokens each."""
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
