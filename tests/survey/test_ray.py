"""The same bytes on Ray, whoever is killed."""

import multiprocessing
import os
import random
import secrets
import shutil
import time
from pathlib import Path

import pytest

from satlens import survey
from satlens.errors import EngineError, InputError, MissingExtraError
from satlens.survey import on_ray as engine
from satlens.survey.manifest import planned
from satlens.survey.work import Job
from tests.survey.little import SETTINGS, descendants, digests, documents, job, kill, save_corpus

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""Of the cluster of these tests: a token made here, so that a second driver can have it too."""
SHARDS = {"shards": 24, "engine": "ray", "workers": 2, **SETTINGS}
pytestmark = [
    # Files and sockets that Ray leaves to the garbage collector, and words to its users.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def ray():
    """One cluster on this machine for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray = pytest.importorskip("ray", reason="ray is not installed")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


def actors():
    """The processes of our actors: descendants of this one by their title."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::ShardActor"):
            found.append(pid)
    return found


def whole(out, undisturbed):
    assert documents(out) == list(range(96))
    assert digests(out) == digests(undisturbed.out)


def test_actors_give_the_bytes_of_this_process(ray, model, corpus, undisturbed, tmp_path):
    found = survey.run(model, corpus, tmp_path / "s", **SHARDS)
    whole(tmp_path / "s", undisturbed)
    assert found.statistics(draws=50).to_dict() == undisturbed.statistics(draws=50).to_dict()
    assert ray.is_initialized()  # a cluster that was there before is left as it was


def test_actors_killed_at_random_moments(ray, model, corpus, undisturbed, tmp_path):
    rng, kills, made, out = random.Random(3), 0, [], tmp_path / "s"
    for folder in ("shards", "nulls"):
        (out / folder).mkdir(parents=True)
    shutil.copy(undisturbed.out / "manifest.json", out)
    manifest = undisturbed.manifest
    weights, text = manifest["model"]["weights_sha256"], manifest["corpus"]["sha256"]
    task = Job(manifest["settings"], weights, text, str(out))
    for record in engine.on_ray(task, planned(manifest), 2):
        made.append(record["shard"])
        if len(made) % 2 and kills < 3 and actors():
            time.sleep(rng.uniform(0, 0.05))
            kill(rng.choice(actors()))
            kills += 1
    assert kills == 3 and sorted(made) == list(range(24))
    survey.run(model, corpus, out, resume=True, **(SHARDS | {"engine": "local", "workers": 1}))
    whole(out, undisturbed)


def test_a_driver_killed_on_a_cluster_that_stays(ray, model, corpus, undisturbed, tmp_path):
    """`--address`: the cluster outlives the run, and another run goes on."""
    address = ray.get_runtime_context().gcs_address
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["satlens.survey.local", "tests.survey.little"])
    kw = SHARDS | {"address": address}
    for attempt in range(5):
        out = tmp_path / f"s{attempt}"
        process = context.Process(target=job, args=(model, corpus, out, kw, ENVIRONMENT))
        process.start()
        while process.is_alive() and not list((out / "shards").glob("*.json")):
            time.sleep(0.002)
        kill(process.pid)
        process.join()
        assert process.exitcode in (0, -9)  # 0: it had ended before it was killed
        if process.exitcode and len(survey.open(out, partial=True).records) < 24:
            break
    else:
        pytest.fail("every driver ended before it could be killed")
    survey.run(model, corpus, out, resume=True, **SHARDS)
    whole(out, undisturbed)


def test_errors_of_an_actor_come_back_as_they_are(ray, model, corpus, tmp_path, undisturbed):
    changed = save_corpus(tmp_path / "stories.txt", 95)
    manifest = undisturbed.manifest
    settings = manifest["settings"] | {"corpus": str(changed)}
    weights, text = manifest["model"]["weights_sha256"], manifest["corpus"]["sha256"]
    task = Job(settings, weights, text, str(tmp_path / "s"))
    with pytest.raises(InputError, match="the corpus was changed"):
        list(engine.on_ray(task, planned(manifest)[-1:], 1))


def test_a_shard_that_always_loses_its_actor_is_an_error(ray, undisturbed, tmp_path, monkeypatch):
    class Dies(engine.ShardActor):
        def run(self, shard):
            os._exit(9)

    monkeypatch.setattr(engine, "ShardActor", Dies)
    monkeypatch.setattr(engine, "RETRIES", 0)
    task = Job(undisturbed.manifest["settings"], "", "", str(tmp_path))
    with pytest.raises(EngineError, match="A shard's worker was lost 1 times"):
        list(engine.on_ray(task, planned(undisturbed.manifest)[:1], 1))


def test_without_ray_the_message_installs_it(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "satlens\[ray\]"'):
        survey.run(model, corpus, tmp_path / "s", **SHARDS)
    assert not (tmp_path / "s").exists()
