"""The engine beyond one machine: Ray actors, each with the model loaded once.

Ray starts an actor again wherever there is room for it, and runs its shard again, when the actor, its worker
process or its machine is lost. Actors write the shards themselves: the folder and the corpus lie where every
machine sees them under one path.
"""

import importlib
import logging
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from satlens.errors import EngineError, MissingExtraError, SatlensError
from satlens.survey.plan import Shard
from satlens.survey.work import Job, Worker

RETRIES = 5
"""So often one shard is run again after its actor was lost."""


class ShardActor:
    """What lives on a cluster: a worker, made with its first shard."""

    def __init__(self, job: Job) -> None:
        logging.getLogger("satlens").setLevel(logging.ERROR)
        self.job, self.worker = job, None

    def run(self, shard: Shard) -> dict[str, Any]:
        """The record of a shard (see `satlens.survey.work.Worker.run`)."""
        if self.worker is None:  # here and not at the start, so that its error comes back as one
            self.worker = Worker(self.job)
        return self.worker.run(shard)

    def process(self) -> int:
        """The process that the actor lives in."""
        return os.getpid()


def on_ray(
    job: Job,
    shards: Sequence[Shard],
    workers: int,
    *,
    threads: int = 1,
    address: str | None = None,
    gpus: float = 0.0,
) -> Generator[dict[str, Any], None, None]:
    """The records of shards made by actors, in the order in which they are finished.

    Args:
        workers: how many actors.
        threads: CPUs of each.
        address: of a cluster ("auto", "host:port", "ray://..."); None: this machine alone. A cluster that
            this process is already connected to is used as it is.
        gpus: GPUs of each, may be a part of one.

    Raises:
        MissingExtraError: Ray is not installed.
        EngineError: no cluster there, or a shard was lost `RETRIES` times.
    """
    ray = import_ray()
    workers = min(workers, len(shards))
    with connected(ray, address, workers * threads, gpus * workers):
        actor = ray.remote(
            num_cpus=threads, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES
        )(ShardActor)
        actors = [actor.remote(job) for _ in range(workers)]
        pool = ray.util.ActorPool(actors)
        try:
            yield from pool.map_unordered(lambda one, shard: one.run.remote(shard), shards)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SatlensError):
                raise error.cause from None
            raise
        except ray.exceptions.RayActorError as error:
            raise EngineError(
                f"A shard's worker was lost {RETRIES + 1} times: killed, or out of memory. Finished shards "
                f"stay. Ray says: {str(error).splitlines()[0]}"
            ) from error
        finally:
            for one in actors:
                ray.kill(one)


def import_ray() -> Any:
    """Ray, or the command that installs it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a survey reports to nobody
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.util")
    except ImportError as error:
        raise MissingExtraError(
            'The engine "ray" needs the package ray: pip install "satlens[ray]".'
        ) from error
    return ray


@contextmanager
def connected(ray: Any, address: str | None, cpus: int, gpus: float) -> Generator[None, None, None]:
    """A cluster inside: the one this process has, the one at an address, or one on this machine."""
    if ray.is_initialized():
        yield
        return
    size = {"num_cpus": cpus, "include_dashboard": False} if address is None else {}
    try:
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **size
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "this machine" if address is None else address
        raise EngineError(f"Ray could not be reached at {where}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()
