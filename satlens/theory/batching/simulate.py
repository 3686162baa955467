"""`simulate`: requests served by one machine under one scheduler, step by step.

    until all are answered:
        those that have come by now wait
        the scheduler admits some, while there are rows and room for their positions;   their prompts run
        where a position has no room any more, the last admitted is preempted
        every sequence takes one step;   those that are at their end leave, with their room

A request of T tokens needs P + T - 1 positions at its end: its last token is not read. One that is preempted
keeps its text and loses its keys and values: it waits again, and its prompt and text run again as one prompt
(recomputed positions), with room for twice the text that it had. The one that has been running longest is
never preempted while others run, and alone it fits, so every request comes to its end.

Nothing here changes what a request answers. In truth keys and values of skipped blocks differ from those of a
text that runs again as a prompt, so later tokens may leave elsewhere.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.errors import InputError
from satlens.theory.batching.machine import Machine
from satlens.theory.batching.requests import Requests
from satlens.theory.batching.scheduler import Scheduler, Sweep


@dataclass(frozen=True, eq=False)
class Served:
    """What became of the requests.

    Attributes:
        arrival, first, end: when each came, got its first token and its last one.
        tokens: new tokens, all together.
        steps: of batches, prompts apart.
        block_steps: blocks that tokens behind the first ones ran through.
        held_block_steps: blocks of each step's deepest token, times its rows.
        peak: most positions set aside at a time. filled: most that held keys and values.
        preemptions: how often a request lost its place. recomputed: positions that ran again for it.
        batches: requests by the moment they were admitted.
    """

    arrival: Float[ndarray, " request"]
    first: Float[ndarray, " request"]
    end: Float[ndarray, " request"]
    tokens: int
    steps: int
    block_steps: int
    held_block_steps: int
    peak: int
    filled: int
    preemptions: int
    recomputed: int
    batches: tuple[tuple[int, ...], ...]

    @property
    def seconds(self) -> float:
        """From the first arrival to the last answer."""
        return float(self.end.max() - self.arrival.min())

    @property
    def throughput(self) -> float:
        """New tokens a second; infinite where nothing takes time."""
        return self.tokens / self.seconds if self.seconds else np.inf

    @property
    def latency(self) -> Float[ndarray, " request"]:
        """From a request's arrival to its last token."""
        return self.end - self.arrival

    @property
    def wasted(self) -> float:
        """The share of block-steps that are those of deeper neighbours; 0 where no step was taken."""
        held = self.held_block_steps
        return 1 - self.block_steps / held if held else 0.0

    def numbers(self) -> dict[str, float]:
        """What is reported: throughput, latency, memory, preemptions, waste."""
        p50, p95 = np.quantile(self.latency, [0.5, 0.95])
        return {
            "throughput": self.throughput, "latency_p50": float(p50), "latency_p95": float(p95),
            "peak": float(self.peak), "preemptions": float(self.preemptions),
            "recomputed": float(self.recomputed), "wasted": self.wasted,
        }  # fmt: skip


def simulate(requests: Requests, scheduler: Scheduler, machine: Machine) -> Served:
    """Serve all requests.

    Args:
        requests: with arrivals, true exits, and the predictions that the scheduler goes by.
        machine: of the same number of blocks.

    Raises:
        InputError: predictions that are missing; a request longer than ``machine.most``, or that has no room
            even alone; another number of blocks.

    Source: Jin et al. 2023 (S3) for packing by prediction and for preemption; Yu et al. 2022 (Orca) for
    requests that join a batch on its way.

    Example:
        >>> from satlens.theory.batching.machine import Clock
        >>> clock = Clock([1.0, 2.0, 3.0, 4.0], [0.0] * 4, [0.0] * 4, [0.0] * 4, 0.0, 0.0)
        >>> asked = Requests([1] * 4, [[3, 0], [3, 3], [3, 0], [3, 3]], n_layers=4)
        >>> machine = Machine(clock, memory=100, rows=2, most=8)
        >>> first, oracle = (Scheduler("a"), Scheduler("b", "depth", knows=True))
        >>> [simulate(asked, one, machine).seconds for one in (first, oracle)]
        [8.0, 5.0]
    """
    _check(requests, machine)
    return _Serving(requests, scheduler, machine).run()


@dataclass(eq=False)
class _Row:
    """A request that runs: ``done`` tokens, ``held`` positions in the memory and room for ``room`` of them,
    and what its tokens from number ``start`` on take.
    """

    index: int
    done: int
    room: int
    held: int
    work: list[float] = field(default_factory=list)
    start: int = 0


class _Serving:
    """One run of `simulate`."""

    def __init__(self, requests: Requests, scheduler: Scheduler, machine: Machine) -> None:
        self.requests, self.scheduler, self.machine = requests, scheduler, machine
        self.clock, n = machine.clock, len(requests)
        self.prompt = requests.prompt.tolist()
        self.exits = [own.tolist() for own in requests.exits]
        self.once = self.clock.once.tolist()
        self.looking = self.clock.looking if scheduler.predicts else 0.0
        self.told = scheduler.lengths(requests, machine.most)
        self.coming = np.argsort(requests.arrival, kind="stable")[::-1].tolist()
        rank = np.empty(n, int)
        rank[self.coming[::-1]] = np.arange(n)
        self.queue = Sweep(scheduler.keys(requests).tolist(), rank.tolist())
        self.rows: list[_Row] = []
        self.done = [0] * n
        self.first, self.end = np.full(n, np.nan), np.full(n, np.nan)
        self.now = 0.0
        self.set_aside = self.peak = self.filled = 0
        self.steps = self.needed = self.held = self.preemptions = self.recomputed = 0
        self.batches: list[tuple[int, ...]] = []

    def run(self) -> Served:
        """To the end."""
        arrival = self.requests.arrival.tolist()
        while self.coming or self.queue.waiting or self.rows:
            if not (self.queue.waiting or self.rows):
                self.now = max(self.now, arrival[self.coming[-1]])
            while self.coming and arrival[self.coming[-1]] <= self.now:
                self.queue.waiting.append(self.coming.pop())
            if self.scheduler.continuous or not self.rows:
                self._admit()
            self._make_room()
            if self.rows:
                self._step()
        return Served(
            self.requests.arrival, self.first, self.end, sum(self.done), self.steps, self.needed,
            self.held, self.peak, self.filled, self.preemptions, self.recomputed, tuple(self.batches),
        )  # fmt: skip

    def _admit(self) -> None:
        """As many as there is room for, none passing one that does not fit; their prompts run."""
        new: list[_Row] = []
        while self.queue.waiting and len(self.rows) + len(new) < self.machine.rows:
            index = self.queue.first()
            room = self.prompt[index] + self.told[index] - 1
            if self.set_aside + room > self.machine.memory:
                break
            self.queue.take(index)
            self.set_aside += room
            new.append(_Row(index, self.done[index], room, self.prompt[index] + self.done[index]))
        if not new:
            return
        self.batches.append(tuple(row.index for row in new))
        self.now += self.clock.prompts
        for row in new:
            self.now += self.clock.prompt(row.held)
            if row.done:
                self.recomputed += row.held
            else:
                self.now += self.looking * row.held
        self.rows += new
        self._measure()
        for row in new:
            row.done += 1
            row.start = row.done
            exits, prompt = self.requests.exits[row.index], self.prompt[row.index]
            row.work = self.clock.work(exits, prompt, row.done).tolist()
        self._emitted(new)

    def _make_room(self) -> None:
        """One more position for each that has none left; the last admitted go where there is none."""
        at = 0
        while at < len(self.rows):
            row = self.rows[at]
            if row.held < row.room:
                at += 1
            elif self.set_aside < self.machine.memory:
                row.room += 1
                self.set_aside += 1
            else:
                gone = self.rows.pop()
                self.set_aside -= gone.room
                self.preemptions += 1
                told = max(2 * gone.done, self.told[gone.index])
                self.told[gone.index] = min(told, self.machine.most)
                self.queue.waiting.append(gone.index)

    def _step(self) -> None:
        """One token of every row."""
        left = [self.exits[row.index][row.done] for row in self.rows]
        deepest = max(left)
        self.now += self.once[deepest]
        self.now += sum(row.work[row.done - row.start] for row in self.rows)
        self.steps += 1
        self.needed += sum(left) + len(left)
        self.held += len(left) * (deepest + 1)
        for row in self.rows:
            row.held += 1
            row.done += 1
        self._measure()
        self._emitted(self.rows)

    def _emitted(self, rows: list[_Row]) -> None:
        """Each of these rows has one token more, now."""
        for row in rows:
            self.done[row.index] = row.done
            if np.isnan(self.first[row.index]):
                self.first[row.index] = self.now
            if row.done == len(self.exits[row.index]):
                self.end[row.index] = self.now
                self.set_aside -= row.room
        self.rows = [row for row in self.rows if row.done < len(self.exits[row.index])]

    def _measure(self) -> None:
        """The memory that is taken while a pass runs; its own positions are in it."""
        self.peak = max(self.peak, self.set_aside)
        self.filled = max(self.filled, sum(row.held for row in self.rows))


def _check(requests: Requests, machine: Machine) -> None:
    if requests.n_layers != machine.clock.n_layers:
        raise InputError(
            f"The requests are of a model of {requests.n_layers} blocks, the clock is of "
            f"{machine.clock.n_layers}."
        )
    longest = int(requests.length.max())
    if longest > machine.most:
        raise InputError(
            f"A request has {longest} new tokens; the machine is asked for at most {machine.most}. Give "
            f"Machine(most={longest})."
        )
    need = int(requests.prompt.max()) + machine.most - 1
    if need > machine.memory:
        raise InputError(
            f"A prompt of {int(requests.prompt.max())} positions and {machine.most} new tokens need room for "
            f"{need} positions; the machine has {machine.memory}. Give more memory, or a smaller most."
        )
