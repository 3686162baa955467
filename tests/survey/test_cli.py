"""`satlens survey`, as it is typed."""

import os
import re
import signal
import subprocess
import sys

import pytest

from satlens import cli, survey
from tests.survey.little import documents


def arguments(model, corpus, out, *more):
    return [
        "survey",
        str(model),
        str(corpus),
        "--out",
        str(out),
        "--k",
        "3",
        "--null-tokens",
        "30",
        *more,
    ]


def test_the_verb_writes_the_folder_and_the_tables(model, corpus, tmp_path, capsys):
    assert cli.main(arguments(model, corpus, tmp_path / "s", "--shards", "4")) == 0
    shown = capsys.readouterr()
    assert "little on stories.txt: 96 documents" in shown.out
    for words in (
        "Saturation layer per rank",
        "paper tau, p",
        "excess over path exchanged",
        "shards/*.parquet",
    ):
        assert words in shown.out
    assert "tokens/s" in shown.err and "shard 4 of 4" in shown.err
    assert cli.main(arguments(model, corpus, tmp_path / "s", "--shards", "4")) == 2
    assert "4 of 4 shards: go on with --resume" in capsys.readouterr().err
    assert cli.main(arguments(model, corpus, tmp_path / "s", "--shards", "4", "--resume")) == 0


@pytest.mark.one_host  # what is interrupted is satlens
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_it_with_130_and_it_can_go_on(model, corpus, tmp_path, workers):
    out = tmp_path / "s"
    typed = arguments(model, corpus, out, "--shards", "96", "--workers", workers)
    with subprocess.Popen(
        [sys.executable, "-m", "satlens.cli", *typed], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        # A shell that runs tests in the background lets them inherit a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        seen = ""
        while not re.search(r"shard \d+ of 96", seen):
            char = process.stderr.read(1)
            assert char, seen
            seen += char
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) == 130
    assert "of 96 shards are in" in rest and "--resume goes on from there" in rest
    assert "Traceback" not in rest
    assert cli.main([*typed, "--workers", "1", "--resume"]) == 0
    assert documents(out) == list(range(96))
    assert survey.open(out).tokens > 0
