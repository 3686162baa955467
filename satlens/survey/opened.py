"""`open_survey`: a finished survey, lazily. Nothing is read but the manifest and the records."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.order.excess import MARGIN
from satlens.resampling import DRAWS, LEVEL
from satlens.saturation.events import SaturationEvents
from satlens.survey.manifest import planned, read_manifest
from satlens.survey.nulls import REAL
from satlens.survey.statistics import Statistics, SurveyStatistics, null_rows
from satlens.survey.store import (
    STATISTICS,
    check_shard,
    layer_columns,
    null_path,
    read_json,
    record_path,
    shard_path,
)

if TYPE_CHECKING:
    import pandas as pd


class Survey:
    """A survey on disk.

    Attributes:
        out: its folder.
        manifest: what was asked, the model, the corpus, the versions, the plan.
        records: one a shard: documents, tokens, what was skipped, checksums.
    """

    def __init__(
        self, out: Path, manifest: dict[str, Any], records: Sequence[dict[str, Any]]
    ) -> None:
        self.out, self.manifest, self.records = out, manifest, tuple(records)

    def __repr__(self) -> str:
        name, corpus = self.manifest["model"]["name"], self.manifest["corpus"]["name"]
        shards = f"{len(self.records)} of {len(self.manifest['shards'])} shards"
        return f"Survey({name} on {corpus}: {self.tokens:,} tokens, {shards})"

    @property
    def k(self) -> int:
        """Ranks followed."""
        return self.manifest["settings"]["k"]

    @property
    def n_layers(self) -> int:
        """Blocks of the model."""
        return self.manifest["model"]["n_layers"]

    @property
    def tokens(self) -> int:
        """Tokens in the shards that are there."""
        return sum(record["tokens"] for record in self.records)

    @property
    def bytes_per_token(self) -> float:
        """Bytes of parquet a token costs, the nulls apart."""
        return sum(record["events"]["bytes"] for record in self.records) / max(self.tokens, 1)

    @property
    def skipped(self) -> list[dict[str, Any]]:
        """The documents that could not be read: number, place and reason."""
        return [one for record in self.records for one in record["skipped"]]

    @property
    def dataset(self) -> ds.Dataset:
        """The events, one row a token, as a pyarrow dataset: read when asked, and only what is asked.

        Columns: ``doc, pos, input, layer_1 .. layer_k, token_1 .. token_k``.
        """
        files = [str(shard_path(self.out, record["shard"])) for record in self.records]
        return ds.dataset(files, format="parquet")

    def frames(self, columns: Sequence[str] | None = None) -> "Iterator[pd.DataFrame]":
        """The events shard by shard as pandas frames."""
        for record in self.records:
            path = shard_path(self.out, record["shard"])
            yield pq.read_table(
                path, columns=None if columns is None else list(columns)
            ).to_pandas()

    def events(self, shard: int) -> SaturationEvents:
        """The events of one shard."""
        return SaturationEvents.from_parquet(shard_path(self.out, shard))

    def check(self) -> None:
        """Compare every file with its checksum.

        Raises:
            InputError: the first shard that is not what was written.
        """
        for record in self.records:
            self._check(record["shard"])

    def _check(self, shard: int) -> None:
        _, wrong = check_shard(self.out, shard)
        if wrong:
            raise InputError(
                f"Shard {shard} of {self.out} is corrupt: {wrong}. Run the survey again with "
                "--resume: it makes this shard anew."
            )

    def statistics(
        self,
        *,
        draws: int = DRAWS,
        level: float = LEVEL,
        seed: int = DEFAULT_SEED,
        margin: float = MARGIN,
    ) -> SurveyStatistics:
        """The statistics of the whole, read shard by shard: memory does not grow with the corpus.

        Args:
            draws, level, seed: of the intervals over documents.
            margin: equivalence margin of the verdict.

        Raises:
            InputError: a corrupt shard, no tokens, unusable settings.
        """
        found = Statistics(
            self.k, self.n_layers, draws=draws, level=level, seed=seed, margin=margin
        )
        layers = [f"layer_{i}" for i in range(1, self.k + 1)]
        for record in self.records:
            shard = record["shard"]
            self._check(shard)
            table = pq.read_table(shard_path(self.out, shard), columns=["doc", *layers])
            if len(table):
                found.update(layer_columns(table, self.k), table["doc"].to_numpy(), shard)
            if record["nulls"] is not None:
                self._update_nulls(found, shard)
        return found.finish()

    def read_statistics(self) -> dict[str, Any]:
        """The statistics that the run wrote at its end, as `SurveyStatistics.to_dict` gives them.

        Raises:
            InputError: the run did not come to its end.
        """
        return read_json(self.out / STATISTICS)

    def _update_nulls(self, found: Statistics, shard: int) -> None:
        table = pq.read_table(null_path(self.out, shard))
        layer = null_rows(table["null"].to_numpy(), layer_columns(table, self.k))
        real = layer.pop(REAL)[0]
        doc = table["doc"].to_numpy()[: len(real)]
        for kind, drawn in layer.items():
            found.update_null(kind, real, drawn, doc)


def open_survey(out: str | Path, *, partial: bool = False) -> Survey:
    """A survey on disk: a lazy dataset, frames, statistics.

    Args:
        partial: open one that is not finished, with the shards that are there.

    Raises:
        InputError: no survey there, or one that is not finished.
    """
    place = Path(out)
    manifest = read_manifest(place)
    shards = planned(manifest)
    there = [shard.index for shard in shards if record_path(place, shard.index).is_file()]
    if len(there) < len(shards) and not partial:
        raise InputError(
            f"The survey in {place} is not finished: {len(there)} of {len(shards)} shards. Go on with "
            "--resume, or open what is there with partial=True."
        )
    return Survey(place, manifest, [read_json(record_path(place, index)) for index in there])
