"""``satlens survey``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from satlens.cli.arguments import TEXT_END
from satlens.conventions import DEFAULT_K


def survey(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    corpus: Annotated[Positional[str], arg(metavar="CORPUS")],
    /,
    *,
    out: Path,
    engine: Literal["local", "ray"] = "local",
    workers: int = 1,
    shards: int | None = None,
    k: int = DEFAULT_K,
    resume: bool = False,
    batch_size: int = 8,
    separator: str = TEXT_END,
    field: str = "text",
    split: str = "train",
    null_tokens: int = 500,
    null_draws: int = 5,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    address: str | None = None,
    gpus: float = 0.0,
) -> None:
    """A corpus of any size, in shards, on one machine or on Ray; resumed after any crash.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        corpus: a file of text, JSON lines or parquet, a folder of them, a dataset (hf:NAME), or "bundled".
        out: the folder to write: manifest.json, shards/, nulls/, statistics.json.
        engine: this machine, or Ray (this machine or a cluster).
        workers: processes or Ray actors, each with the model.
        shards: how many; one for every half megabyte of text, if not given.
        k: ranks to follow.
        resume: go on where a run of the same settings ended.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a text file.
        field: the field or column that holds the document (JSON lines, parquet, datasets).
        split: the split of a dataset.
        null_tokens: tokens of each shard that the path nulls are drawn for; 0 for none.
        null_draws: draws of each path null.
        seed: of everything random.
        threads: threads of each worker.
        device: where the model runs: cpu, cuda.
        dtype: of the weights.
        address: of a Ray cluster; this machine, if not given.
        gpus: GPUs of each Ray actor.
    """
    from satlens.report.survey_tables import survey_summary
    from satlens.survey import run

    found = run(
        model, corpus, out, engine=engine, workers=workers, shards=shards, k=k, resume=resume,
        batch_size=batch_size, separator=separator, field=field, split=split,
        null_tokens=null_tokens, null_draws=null_draws, seed=seed, threads=threads, device=device,
        dtype=dtype, address=address, gpus=gpus, progress=True,
    )  # fmt: skip
    text = survey_summary(found.read_statistics(), found.manifest, len(found.skipped))
    sys.stdout.write(f"{text}\n\nThe events: {out}/shards/*.parquet\n")
