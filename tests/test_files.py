"""A file is whole or not there, whatever happens in the middle."""

import os
import stat

import pytest

from satlens.errors import OutputError
from satlens.files import whole_file, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_text_and_bytes_and_makes_the_folder(tmp_path):
    assert write_whole(tmp_path / "a" / "b.txt", "schön\n").read_bytes() == "schön\n".encode()
    assert write_whole(tmp_path / "a" / "b.txt", b"\x00\xff").read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_stop_in_the_middle_leaves_the_old_file(tmp_path, error):
    target = write_whole(tmp_path / "r.json", "old")
    with pytest.raises(error), whole_file(target) as beside:
        beside.write_text("half")
        raise error("stop")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["r.json"]


def test_nothing_is_seen_before_the_end_and_the_name_keeps_its_ending(tmp_path):
    with whole_file(tmp_path / "r.parquet") as beside:
        beside.write_text("x")
        assert not (tmp_path / "r.parquet").exists()
        assert beside.parent == tmp_path and beside.suffix == ".parquet"


def test_others_may_read_it_as_any_new_file(tmp_path):
    usual = tmp_path / "usual"
    usual.write_text("")
    made = write_whole(tmp_path / "made", "")
    assert stat.S_IMODE(made.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_a_folder_in_the_way_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="a folder of that name is in its place"):
        write_whole(tmp_path, "x")


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match="Could not write beside"):
        write_whole(tmp_path / "a" / "b", "x")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_closed_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Could not write beside"):
        write_whole(tmp_path / "b", "x")
