"""The trial from texts to tables, small; and the record that the documentation shows."""

import json
import re
from pathlib import Path

import pytest

from satlens.errors import InputError
from satlens.theory.batching.tables import tables
from satlens.theory.batching.trial import RECORD, Settings, bundled, trial

SMALL = Settings(
    calibration=3, words=(8,), most=4, rows=2, layers=(3,), seeds=2, fitting=4, rounds=1,
    planted=4, planted_most=4, planted_rounds=1, mixed=(1.0,),
)  # fmt: skip


def test_a_small_trial_is_whole_and_gives_tables(tiny_host):
    texts = [text[:150] for text in bundled()[:9]]
    record = json.loads(json.dumps(trial(tiny_host, texts, SMALL), allow_nan=False))
    assert record["requests"]["requests"] == 6 and record["requests"]["tokens"] <= 24
    assert record["threshold"] is None  # three documents vouch for nothing: nothing leaves
    orders = record["planted"]["orders"]
    assert orders["oracle depth"]["wasted"] == 0 and len(orders["first come"]["seconds"]) == 1
    page = tables(record)
    assert "Policy: never leaves" in page and "| bursts | oracle depth |" in page
    assert tables(record) == page
    with pytest.raises(
        InputError, match="3 documents calibrate and 5 or more are asked; got 7 texts"
    ):
        trial(tiny_host, texts[:7], SMALL)


def test_the_tables_of_the_documentation_are_those_of_the_record():
    record = json.loads(RECORD.read_text("utf-8"))
    assert RECORD.with_suffix(".md").read_text("utf-8") == tables(record)
    assert record["settings"] == json.loads(json.dumps(vars(Settings())))


def test_the_example_of_the_documentation_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "batching.md").read_text(encoding="utf-8")
    exec(compile(re.search(r"```python\n(.*?)```", page, re.S)[1], "docs/batching.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "of 16 blocks" in printed and "bursts" in printed
