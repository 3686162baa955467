import errno
import os
import resource

import numpy as np
import pytest

from satlens.errors import OutputError
from satlens.saturation.events import SaturationEvents
from satlens.survey.store import events_table, file_sha256, write_table


def events(n=30_000, n_layers=16, vocabulary=50_000, seed=0):
    """Tokens with the frequencies of words (Zipf), in documents of 200."""
    rng = np.random.default_rng(seed)
    token = np.minimum(rng.zipf(1.2, (n, 6)), vocabulary) - 1
    layer = rng.integers(0, n_layers, (n, 5))
    return SaturationEvents(
        layer, token[:, :5], np.arange(n) // 200, np.arange(n) % 200, n_layers, token[:, 5]
    )


@pytest.mark.parametrize("n_layers", [16, 300])
def test_the_same_events_come_back(tmp_path, n_layers):
    made = events(500, n_layers)
    write_table(events_table(made, {"k": 5}), tmp_path / "a.parquet")
    found = SaturationEvents.from_parquet(tmp_path / "a.parquet")
    for name in ("layer", "token", "doc", "pos", "input"):
        assert (getattr(found, name) == getattr(made, name)).all()
    assert (found.n_layers, dict(found.settings)) == (n_layers, {"k": 5})


@pytest.mark.parametrize("n", [1_000, 30_000])
def test_a_token_costs_less_than_40_bytes(tmp_path, n):
    wrote = write_table(events_table(events(n), {}), tmp_path / "a.parquet")
    assert wrote["bytes"] / n < 40
    assert wrote["bytes"] == (tmp_path / "a.parquet").stat().st_size


def test_even_tokens_that_nothing_can_pack_cost_less_than_40_bytes(tmp_path):
    rng = np.random.default_rng(0)
    token = rng.integers(0, 128_000, (30_000, 5))
    made = SaturationEvents(
        rng.integers(0, 200, (30_000, 5)), token, np.arange(30_000) // 300, np.arange(30_000) % 300, 200,
        token[:, 0],
    )  # fmt: skip
    assert write_table(events_table(made, {}), tmp_path / "a.parquet")["bytes"] / 30_000 < 40


def test_the_same_table_gives_the_same_bytes(tmp_path):
    wrote = [write_table(events_table(events(), {}), tmp_path / f"{i}.parquet") for i in range(2)]
    assert wrote[0] == wrote[1]
    assert wrote[0]["sha256"] == file_sha256(tmp_path / "0.parquet")


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    write_table(events_table(events(100), {}), tmp_path / "a.parquet")
    before = file_sha256(tmp_path / "a.parquet")

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for name in ("a", "b"):
        with pytest.raises(OutputError, match="No space left on device"):
            write_table(events_table(events(200), {}), tmp_path / f"{name}.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert file_sha256(tmp_path / "a.parquet") == before


def test_a_file_that_may_not_grow_leaves_nothing_half_written(tmp_path):
    """The system itself refuses in the middle of the file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OutputError, match="Could not write .*a.parquet: .*File too large"):
            write_table(events_table(events(), {}), tmp_path / "a.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
