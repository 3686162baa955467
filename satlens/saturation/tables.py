"""`SaturationEvents` as a pandas frame and as parquet, both ways.

A parquet row is a token: ``doc, pos, input, layer_1 .. layer_k, token_1 .. token_k`` (and ``top``, a list
of ``L * k`` ids, with a trajectory). The file's ``satlens`` metadata holds n_layers, k and settings.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from satlens.errors import InputError
from satlens.files import whole_file
from satlens.saturation.events import SaturationEvents

META = b"satlens"


def to_frame(events: SaturationEvents) -> pd.DataFrame:
    """One row a (token, rank), in order of the events, ranks 1 .. k."""
    n, k = events.layer.shape
    frame = pd.DataFrame(
        {
            "doc": np.repeat(events.doc, k),
            "pos": np.repeat(events.pos, k),
            "input": np.repeat(events.input, k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "token": events.token.ravel(),
            "layer": events.layer.ravel(),
            "censored": events.censored.ravel(),
        }
    )
    frame.attrs["n_layers"] = events.n_layers
    return frame


def from_frame(frame: pd.DataFrame, n_layers: int | None = None) -> SaturationEvents:
    """The events of a frame that `to_frame` made, or of one of the same columns."""
    wanted = ["doc", "pos", "input", "rank", "token", "layer"]
    missing = [name for name in wanted if name not in frame]
    if missing:
        raise InputError(f"The frame lacks the columns {', '.join(missing)}; it has {list(frame)}.")
    n_layers = frame.attrs.get("n_layers") if n_layers is None else n_layers
    if n_layers is None:
        raise InputError(
            "The frame does not say how many layers the model has; pass n_layers (a frame keeps it in "
            "frame.attrs, which some operations drop)."
        )
    k = int(frame["rank"].to_numpy().max()) if len(frame) else 0
    if k < 1 or frame["rank"].to_numpy().tolist() != list(range(1, k + 1)) * (len(frame) // k):
        raise InputError("The frame must hold ranks 1 .. k of one token after the other, in order.")
    first = frame.iloc[::k]
    return SaturationEvents(
        layer=frame["layer"].to_numpy().reshape(-1, k),
        token=frame["token"].to_numpy().reshape(-1, k),
        doc=first["doc"].to_numpy(),
        pos=first["pos"].to_numpy(),
        n_layers=n_layers,
        input=first["input"].to_numpy(),
    )


def _schema(events: SaturationEvents) -> pa.Schema:
    k = events.k
    small = pa.uint8() if events.n_layers <= 256 else pa.int16()
    fields = [("doc", pa.int64()), ("pos", pa.int32()), ("input", pa.int32())]
    fields += [(f"layer_{i}", small) for i in range(1, k + 1)]
    fields += [(f"token_{i}", pa.int32()) for i in range(1, k + 1)]
    if events.top is not None:
        fields.append(("top", pa.list_(pa.int32(), events.n_layers * k)))
    meta = {"n_layers": events.n_layers, "k": k, "settings": dict(events.settings)}
    return pa.schema(fields, metadata={META: json.dumps(meta).encode()})


def _table(events: SaturationEvents, schema: pa.Schema) -> pa.Table:
    columns = [events.doc, events.pos, events.input]
    columns += [*events.layer.T, *events.token.T]
    arrays = [
        pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=False)
    ]
    if events.top is not None:
        flat = pa.array(events.top.reshape(-1))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, events.n_layers * events.k))
    return pa.Table.from_arrays(arrays, schema=schema)


class EventsWriter:
    """Appends events to one parquet file, a row group at a time; see `events_writer`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def append(self, events: SaturationEvents) -> None:
        """Write the events of one more batch."""
        schema = _schema(events)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        self._writer.write_table(_table(events, schema))

    def close(self) -> None:
        """Finish the file. Without events there is no schema to write: an error."""
        if self._writer is None:
            raise InputError("No events to write: the events file would have no columns.")
        self._writer.close()


@contextmanager
def events_writer(path: str | Path) -> Generator[EventsWriter, None, None]:
    """A writer for events that arrive in parts; the file appears complete or not at all."""
    with whole_file(path) as beside:
        writer = EventsWriter(beside)
        yield writer
        writer.close()


def write_parquet(events: SaturationEvents, path: str | Path) -> None:
    """One file, complete or not at all."""
    with events_writer(path) as writer:
        writer.append(events)


def read_parquet(path: str | Path) -> SaturationEvents:
    """The events of a file that `write_parquet` or `events_writer` wrote.

    Raises:
        InputError: not a parquet file, or not one of ours.
    """
    path = Path(path)
    try:
        table = pq.read_table(path)
        meta = json.loads(table.schema.metadata[META])
    except FileNotFoundError as error:
        raise InputError(f"No such events file: {path}.") from error
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not an events file: satlens writes parquet with its own metadata ({error})."
        ) from error
    n_layers, k = meta["n_layers"], meta["k"]

    def columns(name: str) -> np.ndarray:
        return np.stack([table[f"{name}_{i}"].to_numpy() for i in range(1, k + 1)], axis=1)

    top = None
    if "top" in table.column_names:
        flat = table["top"].combine_chunks().flatten().to_numpy()
        top = flat.reshape(len(table), n_layers, k)
    return SaturationEvents(
        layer=columns("layer"), token=columns("token"), doc=table["doc"].to_numpy(),
        pos=table["pos"].to_numpy(), n_layers=n_layers, input=table["input"].to_numpy(),
        top=top, settings=meta["settings"],
    )  # fmt: skip
