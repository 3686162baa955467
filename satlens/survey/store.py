"""The folder of a survey: what is in it, and how a shard gets there whole.

    manifest.json            what was asked, the model, the corpus, the versions, the plan
    shards/00000.parquet     the events of a shard, a row a token
    nulls/00000.parquet      the saturation layers of its first tokens under the path nulls
    shards/00000.json        its record: documents, tokens, what was skipped and why, checksums
    statistics.json          the statistics of the whole

Each file is written beside, flushed to disk and renamed, the record last. A shard is there when its record
is, and the checksums in the record are those of the files.

A token costs less in parquet than its 41 bytes of plain numbers at k = 5: documents and positions are
stored as differences, layers and ids by dictionary, all of it packed by zstd.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from satlens.errors import InputError
from satlens.files import whole_file, write_whole
from satlens.saturation.events import SaturationEvents
from satlens.saturation.tables import META

MANIFEST, STATISTICS, LOCK = "manifest.json", "statistics.json", ".lock"
SHARDS, NULLS = "shards", "nulls"
ROW_GROUP = 2**17
_DIFFERENCES = {"doc": "DELTA_BINARY_PACKED", "pos": "DELTA_BINARY_PACKED"}


def shard_path(out: Path, index: int) -> Path:
    """The events of a shard."""
    return out / SHARDS / f"{index:05d}.parquet"


def null_path(out: Path, index: int) -> Path:
    """The nulls of a shard."""
    return out / NULLS / f"{index:05d}.parquet"


def record_path(out: Path, index: int) -> Path:
    """The record of a shard."""
    return out / SHARDS / f"{index:05d}.json"


def events_table(events: SaturationEvents, settings: Mapping[str, Any]) -> pa.Table:
    """Events as `SaturationEvents.from_parquet` reads them; layers in a byte where they fit."""
    k = events.k
    small = pa.uint8() if events.n_layers <= 256 else pa.int16()
    columns = {
        "doc": pa.array(events.doc, pa.int64()),
        "pos": pa.array(events.pos, pa.int32()),
        "input": pa.array(events.input, pa.int32()),
    }
    columns |= {f"layer_{i + 1}": pa.array(events.layer[:, i], small) for i in range(k)}
    columns |= {f"token_{i + 1}": pa.array(events.token[:, i], pa.int32()) for i in range(k)}
    meta = {"n_layers": events.n_layers, "k": k, "settings": dict(settings)}
    return pa.table(columns).replace_schema_metadata({META: json.dumps(meta).encode()})


def write_table(table: pa.Table, path: Path) -> dict[str, Any]:
    """One parquet file, whole or not at all; its checksum and size. The same table, the same bytes.

    Raises:
        OutputError: it cannot be written (a full disk, for one); nothing of it is left.
    """
    plain = [name for name in table.column_names if name not in _DIFFERENCES]
    with whole_file(path) as beside:
        pq.write_table(
            table, beside, compression="zstd", row_group_size=ROW_GROUP, use_dictionary=cast(Any, plain),
            column_encoding={n: e for n, e in _DIFFERENCES.items() if n in table.column_names},
        )  # fmt: skip
        return {"sha256": file_sha256(beside), "bytes": beside.stat().st_size}


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    write_whole(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a survey.

    Raises:
        InputError: it is not there, or broken.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"No such file: {path}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {type(found).__name__}, not what a survey writes.")
    return found


def check_shard(out: Path, index: int) -> tuple[dict[str, Any] | None, str]:
    """The record of a shard that is whole, or None and what is wrong with it.

    What is wrong is empty where there is no record: such a shard is not there yet.
    """
    path = record_path(out, index)
    if not path.is_file():
        return None, ""
    try:
        record = read_json(path)
        wanted = {shard_path(out, index): record["events"]}
        if record["nulls"] is not None:
            wanted[null_path(out, index)] = record["nulls"]
        for file, said in wanted.items():
            if not file.is_file():
                return None, f"{file.name} is missing in {file.parent.name}/"
            if file_sha256(file) != said["sha256"]:
                return None, f"{file.parent.name}/{file.name} does not have its checksum"
    except (InputError, KeyError, TypeError) as error:
        return None, f"its record is broken ({error})"
    return record, ""


def remove_parts(out: Path) -> None:
    """Remove what killed runs left half-written; the lock must be held."""
    for folder in (out, out / SHARDS, out / NULLS):
        for path in folder.glob(".*.part*"):
            path.unlink(missing_ok=True)


def layer_columns(table: pa.Table, k: int) -> np.ndarray:
    """``[token, k]`` saturation layers of a table, in a type that can be subtracted."""
    columns = [table[f"layer_{i}"].to_numpy() for i in range(1, k + 1)]
    return np.stack(columns, axis=1).astype(np.int16)
