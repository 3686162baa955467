"""What `track` gives, and the folder that keeps it: a row a checkpoint.

    track.json              the settings, and what every checkpoint reads
    steps/0000000010.json   the row of step 10

Each file appears whole or not at all, so that a stopped run goes on with the rows that are there.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from satlens.errors import InputError, OutputError, SatlensError
from satlens.files import write_whole
from satlens.models import Batches
from satlens.resampling import LEVEL, Estimate, finite
from satlens.verdicts import HOLDS
from satlens.version import __version__

FORM = "satlens.track/1"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint's row; see `satlens.theory.track` for what the numbers are.

    Attributes:
        step: of training. weights_sha256: of the model that gave the row.
        mean_layer, censored: by rank, from rank 1 on.
        excess: by null; "exchanged" is not there where no token had another one to exchange with.
        rank_1: summed saturation layer of rank 1, and tokens, of each document, so that two checkpoints can
            be compared document by document; empty in files from before this was kept.
    """

    step: int
    weights_sha256: str
    tokens: int
    documents: int
    loss: Estimate
    mean_layer: tuple[Estimate, ...]
    censored: tuple[Estimate, ...]
    concordance: Estimate
    comparable: Estimate
    excess: Mapping[str, Estimate]
    verdict: str
    why: str
    rank_1: tuple[tuple[float, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; intervals under "ci"."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}

    @staticmethod
    def from_dict(said: Mapping[str, Any], seed: int) -> "Checkpoint":
        """The inverse of `to_dict`."""
        values = dict(said)

        def estimate(one: Mapping[str, Any]) -> Estimate:
            ends = [one["value"], *(one["ci"] or (None, None))]
            value, low, high = (np.nan if end is None else end for end in ends)
            p = np.nan if one.get("p") is None else one["p"]
            return Estimate(
                value, low, high, LEVEL, one["draws"], seed, one["documents"], one["note"], p
            )

        for name in ("loss", "concordance", "comparable"):
            values[name] = estimate(values[name])
        for name in ("mean_layer", "censored"):
            values[name] = tuple(estimate(one) for one in values[name])
        values["excess"] = {kind: estimate(one) for kind, one in values["excess"].items()}
        values["rank_1"] = tuple((one[0], one[1]) for one in values.get("rank_1", ()))
        return Checkpoint(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return {
            **value.to_dict(), "draws": value.draws, "documents": value.documents, "note": value.note,
            "p": finite(value.p),
        }  # fmt: skip
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Track:
    """The checkpoints of one training, in order of step.

    Attributes:
        rows: a `Checkpoint` each.
        settings: what made them, and what every checkpoint read.
    """

    rows: tuple[Checkpoint, ...]
    settings: Mapping[str, Any]

    def appears(self) -> int | None:
        """The first step from which on every verdict on order is "holds"; None if there is none."""
        step = None
        for row in reversed(self.rows):
            if row.verdict != HOLDS:
                break
            step = row.step
        return step

    def to_frame(self):
        """A pandas frame, one row a checkpoint; columns with _low and _high are intervals over documents.

        step, tokens, documents, loss, layer_1 .. layer_k, censored_1 .. censored_k, concordance, comparable,
        excess_rotated, excess_exchanged (NaN where not drawn), verdict.
        """
        import pandas as pd

        return pd.DataFrame([_row(one) for one in self.rows])

    def save(self, path: str | Path) -> None:
        """Write one JSON file, complete or not at all. Raises OutputError."""
        said = {
            "form": FORM, "version": __version__, "settings": dict(self.settings),
            "rows": [row.to_dict() for row in self.rows],
        }  # fmt: skip
        write_whole(path, json.dumps(said, indent=1) + "\n")

    @staticmethod
    def load(path: str | Path) -> "Track":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or a file of another kind.
        """
        said = read_json(Path(path), "give what Track.save wrote")
        with changed(Path(path)):
            seed = said["settings"]["seed"]
            rows = tuple(Checkpoint.from_dict(row, seed) for row in said["rows"])
            return Track(rows, said["settings"])


def _row(one: Checkpoint) -> dict[str, Any]:
    row: dict[str, Any] = {"step": one.step, "tokens": one.tokens, "documents": one.documents}
    estimates = {"loss": one.loss}
    estimates |= {f"layer_{i + 1}": each for i, each in enumerate(one.mean_layer)}
    estimates |= {f"censored_{i + 1}": each for i, each in enumerate(one.censored)}
    estimates |= {"concordance": one.concordance, "comparable": one.comparable}
    none = Estimate(np.nan, np.nan, np.nan)
    estimates |= {f"excess_{kind}": one.excess.get(kind, none) for kind in ("rotated", "exchanged")}
    for name, each in estimates.items():
        row |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
    return {**row, "verdict": one.verdict}


class TrackFolder:
    """The rows of one run, kept as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise OutputError(f"The folder {path} is a file; give another name.")
        if path.is_dir() and any(path.iterdir()) and not (path / "track.json").is_file():
            raise OutputError(
                f"{path} holds files, and no track.json: give an empty or a new folder."
            )

    def open(self, settings: Mapping[str, Any]) -> None:
        """Begin here, or go on with a run of the same settings.

        Raises:
            OutputError: the folder holds a run of other settings.
        """
        settings = {**settings, "satlens": __version__}
        file = self.path / "track.json"
        if not file.is_file():
            write_whole(file, json.dumps({"form": FORM, "settings": settings}, indent=1) + "\n")
            return
        with changed(file):
            there = dict(read_json(file, "give another folder")["settings"])
        odd = [
            f"{name} is {there.get(name)!r} there and {settings.get(name)!r} here"
            for name in {**there, **settings} if there.get(name) != settings.get(name)
        ]  # fmt: skip
        if odd:
            raise OutputError(
                f"{self.path} holds a run with other settings: {'; '.join(odd)}. Give another folder."
            )

    def read(self, step: int, weights: str) -> Checkpoint | None:
        """The row of a step if it is there.

        Raises:
            OutputError: it is of other weights.
        """
        file = self._file(step)
        if not file.is_file():
            return None
        said = read_json(file, "remove it to measure the step again")
        with changed(file):
            row = Checkpoint.from_dict(said["row"], said["seed"])
        if not row.rank_1:
            return None  # of an earlier version: measured again
        if row.weights_sha256 != weights:
            raise OutputError(
                f"{file} is of other weights ({row.weights_sha256[:12]}..) than the checkpoint of step "
                f"{step} ({weights[:12]}..). Give another folder."
            )
        return row

    def write(self, row: Checkpoint) -> None:
        """Keep a row."""
        said = {"form": FORM, "seed": row.loss.seed, "row": row.to_dict()}
        write_whole(self._file(row.step), json.dumps(said, indent=1) + "\n")

    def _file(self, step: int) -> Path:
        return self.path / "steps" / f"{step:010d}.json"


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """A JSON file of this form.

    Raises:
        InputError: it cannot be read, or is of another kind.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}); {advice}.") from error
    if not isinstance(said, dict) or said.get("form") != FORM:
        raise InputError(f"{path} is no file of satlens.theory.track; {advice}.")
    return said


@contextmanager
def changed(path: Path) -> Generator[None, None, None]:
    """Entries that are missing or of another kind, said as what they mean."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SatlensError):
            raise
        raise InputError(
            f"{path} was changed after it was written ({error!r}). Remove it to measure again."
        ) from error


def corpus_sha256(batches: Batches) -> str:
    """SHA-256 of the tokens that a model reads, row by row: documents, places and ids."""
    digest = hashlib.sha256()
    for row in batches.rows:
        digest.update(f"{row.doc} {row.start} {len(row.ids)}\n".encode())
        digest.update(row.ids.to("cpu").numpy().astype("<i8").tobytes())
    return digest.hexdigest()
