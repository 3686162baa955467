"""Files of documents, read in a stream from any place on: text, JSON lines, parquet.

    text      documents are what lies between two separators;  a place is a byte
    JSON      one object a line, the document in one field;    a place is a byte
    parquet   one document a row, in one column;               a place is (row group, row)

Memory: the longest document and a chunk of `CHUNK` bytes, or one batch of rows. What lies between two
separators and is blank is no document, and neither is a blank line of JSON.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from satlens.errors import InputError
from satlens.survey.slots import Slot, decoded, slot_of

CHUNK = 2**20
ROWS = 1024
BOM = b"\xef\xbb\xbf"


def text_slots(path: Path, separator: str, start: int = 0) -> Iterator[Slot]:
    """The documents of a text file from byte ``start`` on, without the blanks around them."""
    with path.open("rb") as file:
        for offset, raw in pieces(file, separator, start):
            text, reason = decoded(raw.removeprefix(BOM) if offset == 0 else raw)
            place = f"{path.name}, byte {offset}"
            if text is None:
                yield Slot((offset,), len(raw), None, reason, place)
                continue
            text = text.replace("\r\n", "\n").strip()
            if text:
                yield slot_of(text, (offset,), len(raw), place)


def pieces(
    file: BinaryIO, separator: str, start: int, chunk: int = CHUNK
) -> Iterator[tuple[int, bytes]]:
    r"""What lies between separators, with the byte it begins at; a line end may be \n or \r\n."""
    literal = re.escape(separator.replace("\r\n", "\n").encode())
    pattern = re.compile(literal.replace(b"\\\n", rb"\r?\n"))
    reach = 2 * len(separator.encode())
    file.seek(start)
    data, offset = bytearray(), start
    while more := file.read(chunk):
        unseen = max(0, len(data) - reach)  # a separator may lie across two chunks
        data += more
        spans = [match.span() for match in pattern.finditer(data, unseen)]
        begin = 0
        for first, after in spans:
            yield offset + begin, bytes(data[begin:first])
            begin = after
        del data[:begin]
        offset += begin
    yield offset, bytes(data)


def json_slots(path: Path, field: str, start: int = 0) -> Iterator[Slot]:
    """The documents of a file of JSON lines from byte ``start`` on."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        for line in file:
            raw = line.removeprefix(BOM) if offset == 0 else line
            if raw.strip():
                yield _of_line(raw, field, offset, f"{path.name}, byte {offset}")
            offset += len(line)


def _of_line(raw: bytes, field: str, offset: int, place: str) -> Slot:
    text, reason = decoded(raw)
    if text is None:
        return Slot((offset,), len(raw), None, reason, place)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"broken JSON: {error.msg} at column {error.colno}"
        return Slot((offset,), len(raw), None, reason, place)
    except RecursionError:
        return Slot((offset,), len(raw), None, "broken JSON: nested too deeply", place)
    if not isinstance(found, dict) or field not in found:
        what = f"no field {field!r}" if isinstance(found, dict) else "no JSON object"
        return Slot((offset,), len(raw), None, what, place)
    return slot_of(found[field], (offset,), len(raw), place)


def parquet_slots(path: Path, field: str, group: int = 0, row: int = 0) -> Iterator[Slot]:
    """The documents of a parquet file from a row of a row group on.

    Raises:
        InputError: not a parquet file, or no column of text of that name.
    """
    with open_parquet(path, field) as file:
        for number in range(group, file.num_row_groups):
            first = row if number == group else 0
            at = 0
            for batch in file.iter_batches(ROWS, row_groups=[number], columns=[field]):
                column = batch.column(0)
                for index in range(max(0, first - at), len(column)):
                    yield _of_row(column[index], number, at + index, path.name)
                at += len(column)


def _of_row(value: Any, group: int, row: int, name: str) -> Slot:
    place = f"{name}, row {row} of row group {group}"
    try:
        text = value.as_py()
    except UnicodeDecodeError as error:
        return Slot((group, row), len(error.object), None, "not UTF-8", place)
    size = len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
    return slot_of(text, (group, row), size, place)


def open_parquet(path: Path, field: str) -> pq.ParquetFile:
    """A parquet file that has the column, or the error that says what it has."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is not a parquet file ({error}).") from error
    names = file.schema_arrow.names
    kind = file.schema_arrow.field(field).type if field in names else None
    kind = kind.value_type if kind is not None and pa.types.is_dictionary(kind) else kind
    if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        found = "no such column" if kind is None else f"its type is {kind}"
        file.close()
        raise InputError(
            f"{path}: the column {field!r} should hold the documents, but {found}; the columns are "
            f"{', '.join(names)}. Name the column of text with --field."
        )
    return file
