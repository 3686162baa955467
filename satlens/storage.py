"""What was learned, on disk: ``path.safetensors`` (numbers) and ``path.json`` (what they are). No pickle.

The JSON holds what the owner says, the SHA-256 of the tensors' file, and the SHA-256 of itself without that
last entry: a pair that does not belong together, was cut short or edited is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from satlens.errors import InputError
from satlens.files import whole_file

Wanted = Mapping[str, tuple[np.dtype, tuple[int, ...]]]
"""The arrays that a file must hold: type and shape by name."""


@dataclass(frozen=True)
class Stored:
    """One kind of thing that is kept as such a pair of files.

    Attributes:
        format: written into the files, with a version.
        what: its word in messages ("probe").
        saver: what writes it ("StageProbe.save").
    """

    format: str
    what: str
    saver: str

    @property
    def advice(self) -> str:
        """What to do about a file that is refused."""
        return f"Save the {self.what} again, or take an unchanged copy of both files."

    def save(
        self, path: str | Path, arrays: Mapping[str, ndarray], said: Mapping[str, Any]
    ) -> None:
        """Write both files, each complete or not at all.

        Raises:
            OutputError: the files cannot be written.
        """
        tensors_file, json_file = names(path)
        raw = tensor_bytes(dict(arrays), metadata={"format": self.format})
        entries = {"format": self.format, **said, "tensors_sha256": hashlib.sha256(raw).hexdigest()}
        entries["sha256"] = digest(entries)
        with whole_file(tensors_file) as tensors, whole_file(json_file) as text:
            tensors.write_bytes(raw)
            text.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")

    def read(self, path: str | Path) -> tuple[dict[str, Any], bytes]:
        """What the JSON says, and the bytes of the tensors' file it was written with.

        Raises:
            InputError: no such files, or files that were changed, cut short or of another kind.
        """
        tensors_file, json_file = names(path)
        said = self._json(json_file)
        raw = self._bytes(tensors_file)
        found = hashlib.sha256(raw).hexdigest()
        if found != said["tensors_sha256"]:
            raise InputError(
                f"{tensors_file} is not the file that {json_file.name} was written with: its SHA-256 is "
                f"{found[:12]}.., expected {str(said['tensors_sha256'])[:12]}... It was changed, cut "
                f"short or exchanged. {self.advice}"
            )
        return said, raw

    def arrays(self, path: str | Path, raw: bytes, wanted: Wanted) -> dict[str, ndarray]:
        """The arrays in those bytes, in the names, types and shapes that are wanted.

        Raises:
            InputError: other arrays, or no safetensors file.
        """
        file = names(path)[0]
        try:
            arrays = read_tensors(raw)
        except SafetensorError as error:
            raise InputError(f"{file} is no safetensors file ({error}). {self.advice}") from error
        found = {name: (values.dtype, values.shape) for name, values in arrays.items()}
        if found != wanted:
            raise InputError(
                f"{file} holds {found}; a {self.what} of this kind holds {wanted}. {self.advice}"
            )
        return {name: np.array(values) for name, values in arrays.items()}

    def _json(self, file: Path) -> dict[str, Any]:
        raw = self._bytes(file)
        try:
            said = json.loads(raw)
        except ValueError as error:
            raise InputError(f"{file} is no JSON ({error}). {self.advice}") from error
        if not isinstance(said, dict) or said.get("format") != self.format:
            what = said.get("format") if isinstance(said, dict) else type(said).__name__
            raise InputError(
                f"{file} holds no {self.what} of satlens: format is {what!r}, not {self.format!r}."
            )
        told = said.pop("sha256", None)
        if told != digest(said):
            raise InputError(
                f"{file} was changed after it was written: its own SHA-256 does not fit. {self.advice}"
            )
        return said

    def _bytes(self, file: Path) -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise InputError(
                f"Cannot read {file}: {error.strerror or error}. A {self.what} is the pair "
                f"NAME.safetensors and NAME.json that {self.saver}(NAME) writes."
            ) from error


def names(path: str | Path) -> tuple[Path, Path]:
    """Both files of a pair; the name of either stands for the pair."""
    path = Path(path)
    if path.suffix in (".json", ".safetensors"):
        path = path.with_suffix("")
    return path.with_name(path.name + ".safetensors"), path.with_name(path.name + ".json")


def digest(said: Mapping[str, Any]) -> str:
    """SHA-256 of the entries, whatever the spaces and the order in the file."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
