"""Time next to the forward pass: methods take turns, and each has a forward of its own right before it.

    ratio = seconds of the method / seconds of that forward,     median [least - most] over rounds

On one thread seconds are CPU time of the process, on more they are wall time. A sample counts only if others
used little of the machine meanwhile (`QUIET`); for CPU time too, since two virtual cores are often one real
one, with one set of matrix units. If no sample of a method was quiet, all of them count, and the table
marks it.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIET = 0.15
"""Share of all cores that other processes may use during a sample."""
LEAST = 0.2
"""Seconds of forward passes in a sample, unless told: one pass of a large model, many of a small one."""
SLOW = 8.0
"""Methods of a higher ratio take part in fewer rounds."""


@dataclass(frozen=True)
class Sample:
    """One method in one round."""

    seconds: float
    forward: float
    others: float | None
    """Share of the machine that others used meanwhile; None where it is not told (not Linux)."""

    @property
    def ratio(self) -> float:
        """Times the forward pass."""
        return self.seconds / self.forward


def clock_of(threads: int) -> Callable[[], float]:
    """CPU time for one thread, wall time for more."""
    return time.process_time if threads == 1 else time.perf_counter


def interleaved(
    forward: Callable[[], Any],
    runs: Mapping[str, Callable[[], Any]],
    clock: Callable[[], float],
    rounds: int,
    slow_rounds: int,
    least: float = LEAST,
) -> dict[str, list[Sample]]:
    """Samples of every run, round by round; ``forward`` before each."""
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            if number >= slow_rounds and samples[name] and samples[name][0].ratio > SLOW:
                continue
            gc.collect()
            samples[name].append(_sample(forward, run, clock, least))
    return samples


def _sample(
    forward: Callable[[], Any], run: Callable[[], Any], clock: Callable[[], float], least: float
) -> Sample:
    """Forward and run by turns, once where they are long, often where they are short."""
    others, base, taken, times = Others(), 0.0, 0.0, 0
    while times == 0 or base < least:
        base += _seconds(forward, clock)
        taken += _seconds(run, clock)
        times += 1
    return Sample(taken / times, base / times, others.share())


def _seconds(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Numbers of one row: the samples, and median, least and most of the ratios that count."""
    quiet = [s for s in samples if s.others is not None and s.others <= QUIET]
    counted = [s.ratio for s in quiet or samples]
    return {
        "median": statistics.median(counted),
        "least": min(counted),
        "most": max(counted),
        "n": len(counted),
        "quiet": bool(quiet),
        "seconds": [s.seconds for s in samples],
        "forward": [s.forward for s in samples],
        "others": [s.others for s in samples],
    }


class Others:
    """What share of the machine other processes use, from now on."""

    def __init__(self) -> None:
        self.wall, self.own, self.busy = time.perf_counter(), time.process_time(), busy_seconds()

    def share(self) -> float | None:
        """Since this was made, of all cores."""
        busy = busy_seconds()
        if busy is None or self.busy is None:
            return None
        all_cores = (time.perf_counter() - self.wall) * (os.cpu_count() or 1)
        others = busy - self.busy - (time.process_time() - self.own)
        return max(others, 0.0) / max(all_cores, 1e-9)


def busy_seconds() -> float | None:
    """Seconds that all cores were busy since the machine started, stolen ones included."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    user, nice, system, _idle, _wait, *rest = map(int, stat.read_text().split("\n")[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")
