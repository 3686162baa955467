import importlib
import json
import multiprocessing
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

import satlens
from satlens import survey
from satlens.errors import InputError, ModelError, OutputError
from satlens.saturation.events import SaturationEvents
from satlens.survey.lock import locked
from tests.survey.little import SETTINGS, digests, documents, save_corpus, save_model, texts


def run(model, corpus, out, **kw):
    return survey.run(model, corpus, out, **(SETTINGS | kw))


@pytest.fixture
def copy(undisturbed, tmp_path):
    """The undisturbed survey, to be spoilt."""
    return shutil.copytree(undisturbed.out, tmp_path / "copy")


def test_the_events_are_those_of_detect(undisturbed, model):
    """With the numbers of the corpus, whatever the shards; near ties apart, which padding may turn."""
    whole = satlens.detect(satlens.load_model(model), texts(96), k=3)
    found = SaturationEvents.concat([undisturbed.events(i) for i in range(24)])
    assert (found.doc == whole.doc).all() and (found.pos == whole.pos).all()
    assert (found.input == whole.input).all()
    assert (found.layer == whole.layer).mean() > 0.999 and (
        found.token == whole.token
    ).mean() > 0.999
    assert undisturbed.tokens == len(whole)
    assert (
        undisturbed.bytes_per_token < 60
    )  # shards of 433 tokens: most of it is the form of the file


def test_worker_processes_give_the_same_bytes(undisturbed, model, corpus, tmp_path):
    run(model, corpus, tmp_path / "s", shards=24, workers=2)
    assert digests(tmp_path / "s") == digests(undisturbed.out)
    assert len(digests(tmp_path / "s")) == 48


def test_the_number_of_shards_changes_no_event_and_no_statistic(
    undisturbed, model, corpus, tmp_path
):
    found = run(model, corpus, tmp_path / "s", shards=5)
    one, other = (s.statistics(draws=200) for s in (found, undisturbed))
    np.testing.assert_allclose(one.mean_layer.value, other.mean_layer.value, atol=1e-2)
    assert documents(tmp_path / "s") == documents(undisturbed.out) == list(range(96))


def test_the_manifest_says_what_the_files_follow_from(undisturbed, model):
    manifest = json.loads((undisturbed.out / "manifest.json").read_text())
    host = satlens.load_model(model)
    assert manifest["model"]["weights_sha256"] == satlens.models.weights_sha256(host)
    assert manifest["corpus"]["documents"] == 96 and manifest["corpus"]["name"] == "stories.txt"
    assert manifest["settings"]["null_tokens"] == 30 and len(manifest["shards"]) == 24
    assert {"satlens", "torch", "transformers", "transformer_lens"} <= set(manifest["versions"])
    record = undisturbed.records[3]
    assert record["documents"] == record["read"] == 4 and record["seconds"] > 0
    assert not [path for path in undisturbed.out.rglob(".*") if path.name != ".lock"]


def test_a_finished_survey_is_not_made_again(copy, model, corpus):
    before = {path: path.stat().st_mtime_ns for path in (copy / "shards").iterdir()}
    run(model, corpus, copy, shards=24, resume=True)
    assert {path: path.stat().st_mtime_ns for path in (copy / "shards").iterdir()} == before
    with pytest.raises(
        OutputError, match="holds a survey, 24 of 24 shards: go on with --resume, or"
    ):
        run(model, corpus, copy, shards=24)
    (copy / "shards" / "00003.json").unlink()
    with pytest.raises(OutputError, match="holds a survey, 23 of 24 shards"):
        run(model, corpus, copy, shards=24)
    with pytest.raises(InputError, match="not finished: 23 of 24 shards"):
        survey.open(copy)
    assert len(survey.open(copy, partial=True).records) == 23


@pytest.mark.parametrize("spoil", ["events", "nulls", "record", "no events", "shorter"])
def test_a_broken_shard_is_named_and_made_again(copy, undisturbed, model, corpus, caplog, spoil):
    parquet, nulls = copy / "shards" / "00005.parquet", copy / "nulls" / "00005.parquet"
    raw = bytearray(parquet.read_bytes())
    raw[len(raw) // 2] ^= 1
    {
        "events": lambda: parquet.write_bytes(raw),
        "nulls": lambda: nulls.write_bytes(b"nothing"),
        "record": lambda: (copy / "shards" / "00005.json").write_text('{"shard"'),
        "no events": lambda: parquet.unlink(),
        "shorter": lambda: parquet.write_bytes(raw[:100]),
    }[spoil]()
    if spoil != "record":
        with pytest.raises(InputError, match="Shard 5 of .* is corrupt: .*00005.parquet.*--resume"):
            survey.open(copy).statistics()
        with pytest.raises(InputError, match="Shard 5"):
            survey.open(copy).check()
    run(model, corpus, copy, shards=24, resume=True)
    assert "Shard 5 is broken and is made again" in caplog.text
    assert digests(copy) == digests(undisturbed.out)


def test_a_folder_of_other_settings_is_refused_by_what_differs(copy, model, corpus, tmp_path):
    with pytest.raises(OutputError, match=r"another survey.*: k 3, 2; seed 0, 7\. Ask for"):
        run(model, corpus, copy, shards=24, k=2, seed=7, resume=True)
    with pytest.raises(OutputError, match="corpus stories.txt .*, other.txt"):
        run(model, save_corpus(tmp_path / "other.txt", 95), copy, shards=24, resume=True)
    with pytest.raises(OutputError, match="weights of the model little .*, other"):
        run(save_model(tmp_path / "other", seed=1), corpus, copy, shards=24, resume=True)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OutputError, match="torch '1.0', '"):
        run(model, corpus, copy, shards=24, resume=True)


def test_a_corpus_that_was_moved_is_the_same(copy, model, corpus, tmp_path):
    moved = shutil.copy(corpus, tmp_path / "moved.txt")
    (copy / "shards" / "00000.json").unlink()
    run(model, moved, copy, shards=24, resume=True)
    assert documents(copy) == list(range(96))


def test_unreadable_documents_are_counted_with_place_and_reason(model, tmp_path, caplog):
    parts = [text.encode() for text in texts(12)]
    parts[4], parts[9] = b"caf\xe9", b"a\0b"
    (tmp_path / "a.txt").write_bytes(b"<|endoftext|>".join(parts))
    found = run(model, tmp_path / "a.txt", tmp_path / "s", shards=3)
    assert [(one["document"], one["reason"]) for one in found.skipped] == [
        (4, "not UTF-8 (byte 3 of it is 0xe9)"), (9, "not text: NUL bytes"),
    ]  # fmt: skip
    assert found.skipped[0]["place"].startswith("a.txt, byte ")
    assert sorted(set(found.dataset.to_table(columns=["doc"])["doc"].to_pylist())) == [
        i for i in range(12) if i not in (4, 9)
    ]
    assert "2 of 12 documents cannot be read" in caplog.text


def test_a_shard_without_any_readable_document_is_empty(model, tmp_path):
    lines = [json.dumps({"text": text}) for text in texts(6)]
    lines[2] = lines[3] = "{broken"
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = run(model, tmp_path / "a.jsonl", tmp_path / "s", shards=6)
    assert [record["tokens"] > 0 for record in found.records] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert found.dataset.count_rows() == found.tokens
    assert "exchanged not drawn" in found.records[0]["note"]  # one document a shard: no donor
    statistics = found.statistics()
    assert statistics.documents == 4 and set(statistics.excess) == {"rotated"}
    assert statistics.verdict is None


def test_two_runs_in_one_folder_at_a_time(model, corpus, tmp_path):
    with locked(tmp_path / "s"), pytest.raises(OutputError, match=r"another run \(process \d+ on "):
        run(model, corpus, tmp_path / "s")
    run(model, corpus, tmp_path / "s", shards=2, null_tokens=0)


def test_other_files_in_the_folder_and_other_mistakes(model, corpus, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"files that a survey does not write \(thesis.tex\)"):
        run(model, corpus, tmp_path / "s")
    with pytest.raises(OutputError, match="is a file"):
        run(model, corpus, corpus)
    with pytest.raises(InputError, match="engine must be one of local, ray"):
        run(model, corpus, tmp_path / "t", engine="dask")
    with pytest.raises(InputError, match="need k of 2 or more"):
        run(model, corpus, tmp_path / "t", k=1)
    with pytest.raises(InputError, match="top k=301"):
        run(model, corpus, tmp_path / "t", k=301)
    with pytest.raises(InputError, match="no survey"):
        survey.open(tmp_path / "t")
    (model_without := shutil.copytree(model, tmp_path / "ids") / "tokenizer.json").unlink()
    (model_without.parent / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        run(tmp_path / "ids", corpus, tmp_path / "t")


def test_an_error_in_a_worker_process_comes_back_as_it_is(model, corpus, tmp_path, monkeypatch):
    """The corpus changes once the survey is planned."""
    runner = importlib.import_module("satlens.survey.runner")
    changing = shutil.copy(corpus, tmp_path / "changing.txt")
    before = runner.in_processes

    def change_and_go(*args):
        changing.write_text(changing.read_text().swapcase())
        return before(*args)

    monkeypatch.setattr(runner, "in_processes", change_and_go)
    with pytest.raises(InputError, match="the corpus was changed"):
        run(model, changing, tmp_path / "s", shards=4, workers=2)
    multiprocessing.active_children()


def test_a_full_disk_says_how_much_is_there(model, corpus, tmp_path, monkeypatch):
    work = importlib.import_module("satlens.survey.work")
    write, left = work.write_table, [5]

    def fills(table, path):
        left[0] -= 1
        if left[0] < 0:
            raise OutputError(f"Could not write {path}: No space left on device.")
        return write(table, path)

    monkeypatch.setattr(work, "write_table", fills)
    with pytest.raises(
        OutputError, match="No space left on device. 5 of 24 shards are whole: make room"
    ):
        run(model, corpus, tmp_path / "s", shards=24, null_tokens=0)
    monkeypatch.undo()
    run(model, corpus, tmp_path / "s", shards=24, null_tokens=0, resume=True)
    assert documents(tmp_path / "s") == list(range(96))


def test_open_is_lazy_and_queries_read_what_they_need(undisturbed):
    found = survey.open(undisturbed.out)
    assert found.dataset.schema.names[:4] == ["doc", "pos", "input", "layer_1"]
    table = found.dataset.to_table(columns=["layer_1"], filter=pc.field("doc") == 7)
    assert 0 < len(table) < 200 and table.column_names == ["layer_1"]
    frames = list(found.frames(["doc"]))
    assert len(frames) == 24 and sum(map(len, frames)) == found.tokens
    assert "24 of 24 shards" in repr(found)
    assert found.read_statistics() == json.loads(json.dumps(found.statistics().to_dict()))


@pytest.mark.parametrize("library", ["pyarrow", "duckdb", "polars"])
def test_the_queries_of_the_documentation_run(undisturbed, tmp_path, monkeypatch, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    page = (Path(__file__).parents[2] / "docs" / "survey.md").read_text(encoding="utf-8")
    blocks = [
        block
        for block in re.findall(r"```python\n(.*?)```", page, re.S)
        if f"import {library}" in block
    ]
    assert blocks
    (tmp_path / "stories-tiny").symlink_to(undisturbed.out)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {"survey": survey})


def test_duckdb_counts_what_the_survey_counts(undisturbed):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    query = f"SELECT count(*), avg(layer_1) FROM '{undisturbed.out}/shards/*.parquet'"
    tokens, mean = duckdb.sql(query).fetchall()[0]
    assert tokens == undisturbed.tokens
    assert mean == pytest.approx(undisturbed.statistics(draws=10).mean_layer.value[0])


def test_polars_counts_what_the_survey_counts(undisturbed):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.scan_parquet(f"{undisturbed.out}/shards/*.parquet")
    counts = frame.group_by("doc").len().collect()
    assert counts["len"].sum() == undisturbed.tokens and len(counts) == 96
