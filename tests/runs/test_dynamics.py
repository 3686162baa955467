"""`satlens dynamics` itself: a stopped run goes on, one model at a time, revisions, what is kept out."""

import gc
import json
import weakref

import pytest

import satlens
from satlens.cli import main
from satlens.errors import OutputError
from satlens.runs import AuditSettings, DynamicsSettings, run_audit, run_dynamics
from tests.models.hub import write_cache
from tests.runs.parts import DYNAMICS, subject


@pytest.fixture
def training(settling):
    return subject("dynamics", settling)


def asked(training, corpus, **change):
    return DynamicsSettings(str(training), corpus=str(corpus), **(DYNAMICS | change))


def results_of(out):
    return json.loads((out / "dynamics" / "results.json").read_text())


def test_its_model_is_the_last_checkpoint_so_an_audit_joins(training, settling, corpus, tmp_path):
    run_dynamics(asked(training, corpus), tmp_path / "run")
    said = results_of(tmp_path / "run")
    assert [one["step"] for one in said["checkpoints"]] == [0, 5, 10]
    assert said["model"]["weights_sha256"] == said["checkpoints"][-1]["weights_sha256"]
    assert said["model"]["weights_sha256"] == satlens.models.weights_sha256(
        satlens.load_model(settling)
    )
    few = dict(max_tokens=200, null_tokens=100, untrained_seeds=1)
    run_audit(AuditSettings(str(settling), str(corpus), **few), tmp_path / "run")
    assert "satlens audit · dynamics" in (tmp_path / "run" / "report.html").read_text()


def test_a_stopped_run_goes_on_where_it_was(training, corpus, tmp_path, monkeypatch, capsys):
    loads = []
    load = satlens.load_model

    def stops(path, **kw):
        loads.append(path.name)
        if loads.count("checkpoint-10") == 2:  # once to look at, then in its turn
            raise KeyboardInterrupt
        return load(path, **kw)

    arguments = [
        "dynamics", str(training), "--corpus", str(corpus), "--out", str(tmp_path / "run"), "--rows",
        str(tmp_path / "rows"), "--draws", "2", "--null-tokens", "200", "--max-tokens", "600",
    ]  # fmt: skip
    with monkeypatch.context() as stopping:
        stopping.setattr("satlens.theory.tracking.stored.load_model", stops)
        assert main(arguments) == 130
    error = capsys.readouterr().err
    assert "keeps the checkpoints measured so far" in error and str(tmp_path / "rows") in error
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    kept = sorted(path.name for path in (tmp_path / "rows" / "steps").iterdir())
    assert kept == ["0000000000.json", "0000000005.json"]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows" / "steps").iterdir()}
    assert main(arguments) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    run_dynamics(asked(training, corpus), tmp_path / "straight")
    straight, resumed = results_of(tmp_path / "straight"), results_of(tmp_path / "run")
    for key in straight.keys() - {"seconds"}:
        assert straight[key] == resumed[key], key
    with pytest.raises(
        OutputError, match="holds a run with other settings: draws is 2 there and 3"
    ):
        run_dynamics(asked(training, corpus, draws=3), tmp_path / "other", rows=tmp_path / "rows")
    assert not (tmp_path / "other").exists()


def test_one_model_is_in_memory_at_a_time(training, corpus, tmp_path, monkeypatch):
    alive, load = [], satlens.load_model

    def watched(path, **kw):
        gc.collect()
        assert not [one for one in alive if one() is not None]
        model = load(path, **kw)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr("satlens.theory.tracking.stored.load_model", watched)
    run_dynamics(asked(training, corpus), tmp_path / "run")
    assert len(alive) == 4  # the last to look at, the first for its twin, and both


def test_revisions_of_a_name(tmp_path, monkeypatch, capsys):
    write_cache(tmp_path / "hub", monkeypatch)
    text = tmp_path / "text.txt"
    text.write_text("a b c d a b\n\nb a d c b a\n\nc a b c d d d\n\na b d c")
    arguments = ["dynamics", "org/small", "--corpus", str(text), "--separator", "\n\n", "--k", "2",
                 "--draws", "2", "--out", str(tmp_path / "run")]  # fmt: skip
    assert main([*arguments, "--revisions", "600:main", "step0", "step9"]) == 2
    assert "'org/small' at revision 'step9'" in capsys.readouterr().err
    assert main([*arguments, "--revisions", "main", "step0"]) == 2
    assert "Write STEP:REVISION, for example 143000:main" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*arguments, "--revisions", "600:main", "step0", "step512"]) == 0
    said = results_of(tmp_path / "run")
    assert [(one["step"], one["name"], one["twin"]) for one in said["checkpoints"]] == [
        (0, "step0", False), (512, "step512", False), (600, "main", False),
    ]  # fmt: skip
    assert said["model"]["name"] == "org/small@main"
    assert said["settings"]["revisions"] == ["600:main", "step0", "step512"]
