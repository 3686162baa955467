"""The benchmark of generation runs: rows that never leave write what transformers writes."""

import json

import pytest

from benchmarks import generation

TINY = ["tiny", "--rounds", "2", "--new", "6", "--batches", "1", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    generation.main([*TINY, "--out", str(out)])
    return out


def test_rows_and_tokens(folder):
    record = json.loads((folder / "generation-tiny.json").read_text())
    assert record["kind"] == "generation" and set(record["batches"]) == {"1", "2"}
    assert {"cpu", "vnni", "cores"} <= set(record["machine"]) and record["case"]["blocks"] == 2
    for rows in record["batches"].values():
        assert set(rows) == set(generation.TITLES) == set(record["titles"])
        for name in ("float", "never", "hf"):
            assert rows[name]["differing"] == 0, name
        for name, row in rows.items():
            assert len(row["seconds"]) == 2 and row["tokens_per_second"] > 0
            for base in ("plain", "float"):
                ratio = row[f"speed_over_{base}"]
                assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"], name
        assert rows["plain"]["blocks"] == rows["never"]["blocks"] == 2
        assert rows["half"]["blocks"] == rows["softmax"]["blocks"] == 1
        assert rows["plain"]["speed_over_plain"]["median"] == 1


def test_the_table_has_a_row_a_title(folder):
    text = (folder / "generation.md").read_text()
    for title in generation.TITLES.values():
        assert text.count(f"| {title} |") == 2
    assert "2 prompts of 16 tokens or a few more, 6 new tokens each" in text


def test_the_tables_kept_are_those_of_the_results_kept():
    kept = (generation.RESULTS / "generation.md").read_text(encoding="utf-8")
    assert kept == generation.folder(generation.RESULTS), "python -m benchmarks.generation --table"
