import io
import json
import os
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens.errors import InputError, MissingExtraError
from satlens.survey import open_source, read_corpus
from satlens.survey.files import pieces

ALPHABET = st.text("ab \n\r\xe9<|>", max_size=12)


def read(source, **kw):
    return list(open_source(source, **kw).slots())


def check_from_anywhere(source):
    """Reading from the place of any document gives that document and all after it."""
    slots = list(source.slots())
    for index in range(0, len(slots), max(1, len(slots) // 7)):
        at = json.loads(json.dumps(slots[index].at))  # as it comes back from a manifest
        again = list(source.slots(at))
        assert [(s.text, s.reason, s.place) for s in again] == [
            (s.text, s.reason, s.place) for s in slots[index:]
        ]
    return slots


@settings(max_examples=150)
@given(
    st.lists(ALPHABET, min_size=1, max_size=6),
    st.sampled_from(["\n\n", "<|>", "a"]),
    st.integers(1, 9),
)
def test_pieces_in_chunks_are_the_split_of_the_whole(parts, separator, chunk):
    text = separator.join(parts)
    found = list(pieces(io.BytesIO(text.encode()), separator, 0, chunk))
    joined = [raw.decode().replace("\r\n", "\n") for _, raw in found]
    assert joined == text.replace("\r\n", "\n").split(separator)
    for offset, raw in found:
        assert text.encode()[offset : offset + len(raw)] == raw


def test_a_stream_has_the_documents_of_the_corpus_in_memory(tmp_path):
    assert [slot.text for slot in read("bundled")] == list(read_corpus("bundled").documents)
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfOne.\r\n\r\nTwo\r\nlines.\n\n\n\nThree")
    slots = check_from_anywhere(open_source(tmp_path / "a.txt", separator="\n\n"))
    corpus = read_corpus(tmp_path / "a.txt", separator="\n\n")
    assert (
        tuple(slot.text for slot in slots) == corpus.documents == ("One.", "Two\nlines.", "Three")
    )


def test_text_that_cannot_be_read_is_a_slot_with_a_reason(tmp_path):
    (tmp_path / "a.txt").write_bytes(
        b"ok<|endoftext|>caf\xe9<|endoftext|>a\0b<|endoftext|> <|endoftext|>end"
    )
    (tmp_path / "b.txt").write_bytes(b" \n")
    slots = check_from_anywhere(open_source(tmp_path))
    assert [slot.text for slot in slots] == ["ok", None, None, "end", None]
    assert [slot.reason for slot in slots] == [
        "", "not UTF-8 (byte 3 of it is 0xe9)", "not text: NUL bytes", "", "empty",
    ]  # fmt: skip
    assert slots[1].place == "a.txt, byte 15"
    assert slots[4].place == "b.txt"


def test_json_lines_and_what_can_be_wrong_with_them(tmp_path):
    lines = [
        b'{"text": "one"}', b'{"text": 3}', b'{"text": ""}', b"{broken", b'["text"]', b'{"t": "x"}', b"",
        b'{"text": "\\ud800"}', b'{"text": "caf\xe9"}', b"[" * 100_000, b'{"text": "last"}',
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    slots = check_from_anywhere(open_source(tmp_path / "a.jsonl"))
    assert [slot.text for slot in slots] == ["one", *[None] * 8, "last"]
    starts = [
        "not text but int", "empty", "broken JSON: Expecting property name", "no JSON object",
        "no field 'text'", "not Unicode text", "not UTF-8", "broken JSON",
    ]  # fmt: skip
    for slot, start in zip(slots[1:9], starts, strict=True):
        assert slot.reason.startswith(start)
    assert slots[3].place == "a.jsonl, byte 41"
    assert [slot.text for slot in read(tmp_path / "a.jsonl", field="t") if slot.text] == ["x"]


def test_parquet_by_row_group(tmp_path):
    values = [f"document {i}" for i in range(2500)]
    values[7] = None
    table = pa.table({"body": values, "n": list(range(2500))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1100)
    source = open_source(tmp_path / "a.parquet", field="body")
    slots = check_from_anywhere(source)
    assert [slot.text for slot in slots] == values
    assert (slots[7].reason, slots[7].place) == (
        "not text but NoneType",
        "a.parquet, row 7 of row group 0",
    )
    for field, message in (
        ("text", "no such column; the columns are body, n"),
        ("n", "its type is int64"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / "a.parquet", field=field)
    (tmp_path / "b.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="is not a parquet file"):
        open_source(tmp_path / "b.parquet")


def test_a_folder_of_all_kinds_is_read_in_order_of_name(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "c.txt").write_text("C")
    (tmp_path / "b.jsonl").write_text('{"text": "B"}\n')
    (tmp_path / "d.md").write_text("no")
    pq.write_table(pa.table({"text": ["A1", "A2"]}), tmp_path / "a.parquet")
    (tmp_path / "sub" / "d.txt").write_text("D")
    source = open_source(tmp_path)
    assert [slot.text for slot in check_from_anywhere(source)] == ["A1", "A2", "B", "C", "D"]
    assert source.files == ("a.parquet", "b.jsonl", "c.txt", "sub/d.txt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datasets_saved_and_streamed(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.disable_progress_bars()
    rows = [{"text": f"document {i}", "n": i} for i in range(40)]
    rows[3]["text"] = None
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    (tmp_path / "files").mkdir()
    for part in range(2):
        lines = [json.dumps(row) for row in rows[20 * part : 20 * part + 20]]
        (tmp_path / "files" / f"train-{part}.jsonl").write_text("\n".join(lines))
    for name in (tmp_path / "saved", f"hf:{tmp_path / 'files'}"):
        slots = check_from_anywhere(open_source(name))
        assert [slot.text for slot in slots] == [row["text"] for row in rows]
        assert (slots[3].reason, slots[3].place) == ("not text but NoneType", "row 3")
        with pytest.raises(InputError, match="has the columns text, n, and no 'body'"):
            open_source(name, field="body")
    with pytest.raises(InputError, match="Could not open the dataset hf:"):
        open_source(f"hf:{tmp_path / 'files'}", split="test")


def test_without_datasets_the_message_installs_it(tmp_path, monkeypatch):
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "satlens\[datasets\]"'):
        open_source(tmp_path)


def test_what_cannot_be_read_at_all_is_an_error_at_the_start(tmp_path):
    with pytest.raises(InputError, match="No corpus at .*none.txt: give a file"):
        open_source(tmp_path / "none.txt")
    with pytest.raises(InputError, match="holds no file .txt, .jsonl"):
        open_source(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="give JSON lines"):
        open_source(tmp_path / "a.json")
    (tmp_path / "a.txt").symlink_to(tmp_path / "a.txt")
    if os.geteuid():
        (tmp_path / "b.txt").write_text("closed")
        (tmp_path / "b.txt").chmod(0)
        with pytest.raises(InputError, match="Could not read .*b.txt: Permission denied"):
            open_source(tmp_path)


def test_nothing_of_a_large_file_is_kept(tmp_path):
    """The first documents of a file come without the rest of it."""
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.write(b"one<|endoftext|>two<|endoftext|>")
        file.truncate(2**34)  # 16 GB of nothing, none of it on disk
    assert [slot.text for slot in islice(open_source(path).slots(), 2)] == ["one", "two"]
