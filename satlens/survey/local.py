"""The engine of one machine: this process alone, or worker processes of `concurrent.futures`.

Workers hold one end of a pipe whose other end only the main process has. When that closes, because the main
process wants it or because it was killed, they end at once: no worker outlives its run.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from satlens.errors import EngineError
from satlens.models import ResidualModel
from satlens.survey.plan import Shard
from satlens.survey.work import Job, Worker

LOSSES = 3
"""So often in a row workers may be lost without one shard between, before the run gives up."""
logger = logging.getLogger("satlens")
_mine: dict[str, Any] = {}


def in_process(
    job: Job, shards: Sequence[Shard], model: ResidualModel
) -> Generator[dict[str, Any], None, None]:
    """The records of shards made here, one after the other."""
    worker = Worker(job, model)
    for shard in shards:
        yield worker.run(shard)


def in_processes(
    job: Job, shards: Sequence[Shard], workers: int
) -> Generator[dict[str, Any], None, None]:
    """The records of shards made by worker processes, in the order in which they are finished.

    Shards of a worker that was lost (killed, out of memory) are made again by new workers.

    Raises:
        EngineError: workers are lost again and again.
    """
    # Workers come from a server that has imported everything once: a new one is there at once.
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["satlens.survey.local"])
    lifeline, keep = context.Pipe(duplex=False)
    todo, losses = deque(shards), 0
    try:
        while todo:
            pool = ProcessPoolExecutor(
                min(workers, len(todo)), mp_context=context, initializer=_start,
                initargs=(job, lifeline),
            )  # fmt: skip
            pending: dict[Future[Any], Shard] = {}
            try:
                for record in _made(pool, todo, pending, workers):
                    losses = 0
                    yield record
            except BrokenProcessPool as error:
                todo.extendleft(sorted(pending.values(), key=lambda one: one.index, reverse=True))
                losses += 1
                _lost(losses, pending.values(), error)
            except BaseException:  # ours to end, or Ctrl-C: nobody waits for what is half-made
                keep.close()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        keep.close()
        lifeline.close()


def _made(
    pool: ProcessPoolExecutor, todo: deque[Shard], pending: dict[Future[Any], Shard], workers: int
) -> Iterator[dict[str, Any]]:
    while todo or pending:
        while todo and len(pending) <= workers:  # one more than can run: nobody waits for us
            pending[pool.submit(_run, todo[0])] = todo[0]
            todo.popleft()
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            record = future.result()
            del pending[future]
            yield record


def _lost(losses: int, shards: Any, error: BrokenProcessPool) -> None:
    names = ", ".join(str(shard.index) for shard in shards)
    if losses >= LOSSES:
        raise EngineError(
            f"Workers were lost {losses} times without one shard between (shards {names}): killed, or out "
            "of memory. Try fewer --workers or a smaller --batch-size; finished shards stay."
        ) from error
    logger.warning("A worker was lost; the shards %s are made again.", names)


def _start(job: Job, lifeline: Connection) -> None:
    """In each worker, first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to answer
    logging.getLogger("satlens").setLevel(logging.ERROR)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    _mine.update(job=job, worker=None)


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)


def _run(shard: Shard) -> dict[str, Any]:
    if _mine["worker"] is None:  # here and not at the start, so that its error comes back as one
        _mine["worker"] = Worker(_mine["job"])
    return _mine["worker"].run(shard)
