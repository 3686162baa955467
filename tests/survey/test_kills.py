"""`kill -9` at random moments; after it nothing is lost, nothing is twice, and every byte is as undisturbed.

Jobs are started from a fork server, which has imported everything once: a start costs next to nothing. A
survey's own workers come from the same server.
"""

import multiprocessing
import random
import shutil
import sys
import threading
import time
from multiprocessing import forkserver

import pytest

from satlens import survey
from satlens.errors import EngineError
from satlens.survey.local import in_processes
from satlens.survey.manifest import planned
from satlens.survey.work import Job
from tests.survey.little import (
    NEEDS_PROC,
    SETTINGS,
    alive,
    children,
    descendants,
    digests,
    documents,
    job,
    kill,
)

SHARDS = {"shards": 24, **SETTINGS}
pytestmark = pytest.mark.one_host  # what is killed is satlens
linux = pytest.mark.skipif(sys.platform != "linux", reason=NEEDS_PROC)


@pytest.fixture(scope="module")
def jobs():
    """A context whose processes start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["satlens.survey.local", "tests.survey.little"])
    started = context.Process(target=time.sleep, args=(0,))
    started.start()  # the server's imports are not part of what is timed
    started.join()
    return context


def whole(out, undisturbed):
    """Every document once, every file byte by byte, nothing left lying about."""
    assert documents(out) == list(range(96))
    assert digests(out) == digests(undisturbed.out)
    assert not [path.name for path in out.rglob(".*") if path.name != ".lock"]


def killed(process, rng, longest):
    """Whether it was killed before it ended of itself."""
    process.join(rng.uniform(0, longest))
    before = process.is_alive()
    if before:
        kill(process.pid)
    process.join()
    assert before or process.exitcode == 0
    return before


def test_a_job_killed_at_random_moments(jobs, model, corpus, undisturbed, tmp_path):
    rng, kills, surveys = random.Random(0), 0, 0
    out = tmp_path / "s0"
    began = time.monotonic()
    process = jobs.Process(target=job, args=(model, corpus, tmp_path / "timed", SHARDS))
    process.start()
    process.join()
    seconds = time.monotonic() - began
    while kills < 20:
        process = jobs.Process(target=job, args=(model, corpus, out, SHARDS))
        process.start()
        if killed(process, rng, 0.7 * seconds):
            kills += 1
            continue
        whole(out, undisturbed)
        surveys += 1
        out = tmp_path / f"s{surveys}"
    survey.run(model, corpus, out, resume=True, **SHARDS)
    whole(out, undisturbed)


def working(process):
    """All processes of a job, once workers of it are there: the job, its own server, two workers."""
    while process.is_alive():
        found = descendants(process.pid)
        if len(found) >= 3:  # the server and two workers
            return [process.pid, *found]
        time.sleep(0.01)
    return []


@linux
def test_all_processes_of_a_job_killed_at_once(jobs, model, corpus, undisturbed, tmp_path):
    rng, kills, out = random.Random(1), 0, tmp_path / "s"
    for _ in range(12):
        if kills == 3:
            break
        process = jobs.Process(target=job, args=(model, corpus, out, SHARDS | {"workers": 2}))
        process.start()
        if not working(process):
            process.join()
            shutil.rmtree(out)  # it was finished before anybody saw its workers
            continue
        time.sleep(rng.uniform(0, 0.7))
        for pid in [process.pid, *descendants(process.pid)]:
            kill(pid)
        process.join()
        kills += 1
    assert kills == 3
    survey.run(model, corpus, out, resume=True, **SHARDS)
    whole(out, undisturbed)


@linux
def test_workers_end_with_their_job(jobs, model, corpus, undisturbed, tmp_path):
    """A main process that is killed takes its workers with it: the next run has the folder for itself."""
    kw = SHARDS | {"workers": 2}
    process = jobs.Process(target=job, args=(model, corpus, tmp_path / "s", kw))
    process.start()
    everyone = working(process)
    assert len(everyone) > 3
    kill(process.pid)
    process.join()
    deadline = time.monotonic() + 20
    while any(map(alive, everyone)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, everyone))
    survey.run(model, corpus, tmp_path / "s", resume=True, **SHARDS)
    whole(tmp_path / "s", undisturbed)


@linux
def test_single_workers_killed_while_the_job_goes_on(
    jobs, model, corpus, undisturbed, tmp_path, caplog
):
    rng, kills, made = random.Random(2), 0, []
    out = tmp_path / "s"
    for folder in ("shards", "nulls"):
        (out / folder).mkdir(parents=True)
    shutil.copy(undisturbed.out / "manifest.json", out)
    manifest = undisturbed.manifest
    task = Job(
        manifest["settings"],
        manifest["model"]["weights_sha256"],
        manifest["corpus"]["sha256"],
        str(out),
    )
    for record in in_processes(task, planned(manifest), 2):
        made.append(record["shard"])
        workers = children(forkserver._forkserver._forkserver_pid)
        if kills < 8 and workers:
            time.sleep(rng.uniform(0, 0.05))
            kill(rng.choice(workers))
            kills += 1
    assert kills == 8 and sorted(made) == list(range(24))
    assert "A worker was lost; the shards" in caplog.text
    survey.run(model, corpus, out, resume=True, **SHARDS)
    whole(out, undisturbed)


@linux
def test_workers_that_are_always_killed_are_an_error(jobs, model, corpus, tmp_path):
    """Not an endless loop: a shard that never fits into memory, for one."""
    server, ended = forkserver._forkserver._forkserver_pid, threading.Event()

    def kill_all():
        while not ended.wait(0.005):
            for pid in children(server):
                kill(pid)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(
            EngineError, match="Workers were lost 3 times without one shard between"
        ):
            survey.run(model, corpus, tmp_path / "s", workers=2, **SHARDS)
    finally:
        ended.set()
        killer.join()
