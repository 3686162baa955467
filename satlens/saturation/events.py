"""`SaturationEvents`: one row a token, one column a rank.

``layer[token, i]`` is the saturation layer of rank ``i + 1`` and ``token[token, i]`` the id that the
model's own output puts there (see `satlens.conventions`). The arrays are numpy, owned by the events
and read-only: what is compared shares no memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from satlens.conventions import is_censored
from satlens.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike
    from torch import Tensor

    Arrays = ArrayLike | Tensor


def _own(name: str, values: Any, dtype: type, ndim: int) -> ndarray:
    """A read-only copy of ``values`` in the documented type, or an error that names the field."""
    array = np.array(np.asarray(values))  # asarray first: tensors warn when asked for a copy
    if array.ndim != ndim or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise InputError(
            f"SaturationEvents.{name} wants whole numbers in {ndim} dimension(s); got "
            f"{array.dtype} of shape {array.shape}."
        )
    array = array.astype(dtype)
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class SaturationEvents:
    """For every token and rank, the layer from which the model's answer is fixed.

    Attributes:
        layer: ``[token, k]`` saturation layer, 0 .. n_layers-1 (n_layers-1: censored).
        token: ``[token, k]`` output id at each rank of the model's own final output.
        doc: ``[token]`` document number; documents are the unit of every interval.
        pos: ``[token]`` position inside the document.
        n_layers: number of blocks L.
        input: ``[token]`` id read at this position, -1 where unknown.
        top: ``[token, layer, k]`` ranking at every layer, only with ``trajectory=True``.
        settings: what made the events (model, lens, k, seed, ...), plain values.

    Example:
        >>> events = SaturationEvents(layer=[[0, 3]], token=[[7, 5]], doc=[0], pos=[1], n_layers=4)
        >>> events
        SaturationEvents(1 token, 1 document, k=2, 4 layers, censored per rank: 0.00 1.00)
        >>> events.to_frame()[["rank", "layer", "censored"]].values.tolist()
        [[1, 0, False], [2, 3, True]]
    """

    layer: Int[ndarray, "token k"]
    token: Int[ndarray, "token k"]
    doc: Int[ndarray, " token"]
    pos: Int[ndarray, " token"]
    n_layers: int
    input: Int[ndarray, " token"]
    top: Int[ndarray, "token layer k"] | None
    settings: Mapping[str, Any]

    def __init__(  # arrays of any kind are taken; what is kept are arrays of numpy
        self,
        layer: "Arrays",
        token: "Arrays",
        doc: "Arrays",
        pos: "Arrays",
        n_layers: int,
        input: "Arrays | None" = None,
        top: "Arrays | None" = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        own = object.__setattr__
        own(self, "layer", _own("layer", layer, np.int16, 2))
        own(self, "token", _own("token", token, np.int32, 2))
        own(self, "doc", _own("doc", doc, np.int64, 1))
        own(self, "pos", _own("pos", pos, np.int32, 1))
        own(self, "n_layers", n_layers)
        unknown = np.full(len(self.doc), -1)
        own(self, "input", _own("input", unknown if input is None else input, np.int32, 1))
        own(self, "top", None if top is None else _own("top", top, np.int32, 3))
        own(self, "settings", MappingProxyType(dict(settings)))
        self._check()

    def _check(self) -> None:
        n, k = self.layer.shape
        wanted: dict[str, tuple[int, ...]] = {
            "token": (n, k),
            "doc": (n,),
            "pos": (n,),
            "input": (n,),
        }
        if self.top is not None:
            wanted["top"] = (n, self.n_layers, k)
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(
                    f"SaturationEvents.{name} has shape {found}; with layer of shape {(n, k)} and "
                    f"{self.n_layers} layers it must be {shape}."
                )
        if k < 1 or self.n_layers < 1:
            raise InputError(
                f"SaturationEvents needs k >= 1 and n_layers >= 1, got {k}, {self.n_layers}."
            )
        if n and not (self.layer.min() >= 0 and self.layer.max() < self.n_layers):
            raise InputError(
                f"Saturation layers must be 0 .. {self.n_layers - 1}; found "
                f"{self.layer.min()} .. {self.layer.max()}."
            )

    @property
    def k(self) -> int:
        """Number of ranks followed."""
        return self.layer.shape[1]

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return len(np.unique(self.doc))

    @property
    def censored(self) -> Bool[ndarray, "token k"]:
        """True where a rank was seen fixed only at the output (s = L - 1)."""
        return is_censored(self.layer, self.n_layers)

    def __len__(self) -> int:
        return len(self.layer)

    def __repr__(self) -> str:
        def count(n: int, word: str) -> str:
            return f"{n:,} {word}{'' if n == 1 else 's'}"

        share = " ".join(f"{c:.2f}" for c in self.censored.mean(0)) if len(self) else "-"
        return (
            f"SaturationEvents({count(len(self), 'token')}, {count(self.n_docs, 'document')}, "
            f"k={self.k}, {count(self.n_layers, 'layer')}, censored per rank: {share})"
        )

    def __getitem__(self, rows: Any) -> "SaturationEvents":
        """The events of some tokens: a slice, a boolean mask or an array of row numbers.

        >>> events = SaturationEvents([[0], [1]], [[7], [5]], doc=[0, 1], pos=[0, 0], n_layers=2)
        >>> len(events[events.doc == 1])
        1
        """
        rows = [rows] if isinstance(rows, int | np.integer) else rows
        return SaturationEvents(
            layer=self.layer[rows], token=self.token[rows], doc=self.doc[rows], pos=self.pos[rows],
            n_layers=self.n_layers, input=self.input[rows],
            top=None if self.top is None else self.top[rows], settings=self.settings,
        )  # fmt: skip

    @staticmethod
    def concat(parts: "Sequence[SaturationEvents]") -> "SaturationEvents":
        """One table from many, in order. Document numbers are kept as they are.

        Raises:
            InputError: parts of different k or n_layers, no parts, or only some with ``top``.
        """
        parts = list(parts)
        if not parts:
            raise InputError("SaturationEvents.concat got no parts.")
        shapes = {(p.k, p.n_layers, p.top is not None) for p in parts}
        if len(shapes) > 1:
            raise InputError(
                "SaturationEvents.concat wants parts of one shape; found (k, n_layers, trajectory) "
                f"in {sorted(shapes)}."
            )
        first = parts[0]
        columns = {name: np.concatenate([getattr(p, name) for p in parts])
                   for name in ("layer", "token", "doc", "pos", "input")}  # fmt: skip
        top = (
            None
            if first.top is None
            else np.concatenate([p.top for p in parts if p.top is not None])
        )
        return SaturationEvents(
            **columns, n_layers=first.n_layers, top=top, settings=first.settings
        )

    def to_frame(self) -> "pd.DataFrame":
        """A pandas frame, one row a (token, rank): doc, pos, input, rank (from 1), token, layer, censored."""
        from satlens.saturation.tables import to_frame

        return to_frame(self)

    @staticmethod
    def from_frame(frame: "pd.DataFrame", n_layers: int | None = None) -> "SaturationEvents":
        """What `to_frame` made, or a frame of the same columns; it holds no trajectory and no settings.

        Args:
            frame: one row a (token, rank), ranks 1 .. k of one token after the other.
            n_layers: number of blocks; a frame of `to_frame` knows it.

        Raises:
            InputError: columns are missing, ranks are out of order, or n_layers is not known.
        """
        from satlens.saturation.tables import from_frame

        return from_frame(frame, n_layers)

    def to_parquet(self, path: Any) -> None:
        """Write the events to one parquet file, complete or not at all. See `from_parquet`."""
        from satlens.saturation.tables import write_parquet

        write_parquet(self, path)

    @staticmethod
    def from_parquet(path: Any) -> "SaturationEvents":
        """Read what `to_parquet` wrote; the same events come back, settings and trajectory included."""
        from satlens.saturation.tables import read_parquet

        return read_parquet(path)
