"""`run`: a survey from the first document to the statistics, or from wherever it was left.

    settings -> lock -> model, plan, manifest -> shards that are not there -> statistics

A shard that is whole is never made twice, and one that is not whole is never counted.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError, OutputError
from satlens.models import ResidualModel
from satlens.saturation.ranking import check_k
from satlens.survey.corpus import BUNDLED, SEPARATOR
from satlens.survey.local import in_process, in_processes
from satlens.survey.lock import locked
from satlens.survey.manifest import check_same, make_manifest, planned, read_manifest
from satlens.survey.on_ray import import_ray, on_ray
from satlens.survey.opened import Survey, open_survey
from satlens.survey.plan import Shard, make_plan
from satlens.survey.settings import NULL_DRAWS, NULL_TOKENS, SurveySettings
from satlens.survey.source import FIELD, SPLIT
from satlens.survey.store import (
    LOCK,
    MANIFEST,
    NULLS,
    SHARDS,
    STATISTICS,
    check_shard,
    record_path,
    remove_parts,
    write_json,
)
from satlens.survey.work import Job, load

ENGINES = ("local", "ray")
logger = logging.getLogger("satlens")


def run(
    model: str | Path,
    corpus: str | Path = BUNDLED,
    out: str | Path = "survey",
    *,
    engine: str = "local",
    workers: int = 1,
    resume: bool = False,
    shards: int | None = None,
    k: int = DEFAULT_K,
    batch_size: int = 8,
    separator: str = SEPARATOR,
    field: str = FIELD,
    split: str = SPLIT,
    null_tokens: int = NULL_TOKENS,
    null_draws: int = NULL_DRAWS,
    seed: int = DEFAULT_SEED,
    threads: int = 1,
    device: str = "cpu",
    dtype: str = "float32",
    address: str | None = None,
    gpus: float = 0.0,
    progress: bool = False,
) -> Survey:
    """Detect in a corpus of any size, shard by shard, and lose nothing.

    Args:
        model: "tiny", a Hugging Face name, a folder, or FILE.py:FUNCTION: what every worker can load.
        corpus: see `satlens.survey.open_source`.
        out: the folder; a new or an empty one, or with ``resume`` one that a survey was begun in.
        engine: "local" (this machine) or "ray" (this machine or a cluster).
        workers: processes or actors that make shards, each with the model.
        resume: go on where a run of the same settings ended, however it ended.
        threads: of each worker. shards, k, batch_size, null_tokens, null_draws, seed, device, dtype:
            see `SurveySettings`, which the manifest keeps.
        address, gpus: of Ray: the cluster, and how many GPUs each actor has.
        progress: show a bar with tokens per second and the time left.

    Returns:
        The survey, opened (see `satlens.survey.open`).

    Raises:
        InputError: an unusable corpus or setting. OutputError: a folder of another run, a run at work in it,
            a disk that is full. EngineError: workers lost again and again. ModelError: see `load_model`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     survey = run("tiny", "bundled", folder, shards=8, null_tokens=0)
        ...     survey.tokens, len(survey.records)
        (8817, 8)
    """
    settings = SurveySettings(
        model=str(model), corpus=str(corpus), k=k, shards=shards, batch_size=batch_size,
        separator=separator, field=field, split=split, null_tokens=null_tokens,
        null_draws=null_draws, seed=seed, threads=threads, device=device, dtype=dtype,
    )  # fmt: skip
    if engine not in ENGINES or workers < 1:
        raise InputError(
            f"engine must be one of {', '.join(ENGINES)} and workers at least 1; got {engine!r}, {workers}."
        )
    if engine == "ray":
        import_ray()
    place = Path(out).absolute()
    check_folder(place, resume)
    with locked(place):
        check_folder(place, resume)  # it may have been filled while we waited
        here = engine == "local" and workers == 1
        loaded, manifest = prepare(place, settings, settings.device if here else "cpu")
        todo, records = missing(place, planned(manifest))
        job = Job(
            settings.to_dict(), manifest["model"]["weights_sha256"], manifest["corpus"]["sha256"],
            str(place),
        )  # fmt: skip
        if here:
            made = in_process(job, todo, loaded)
        elif engine == "local":
            made = in_processes(job, todo, workers)
        else:
            made = on_ray(job, todo, workers, threads=threads, address=address, gpus=gpus)
        del loaded
        with told(place, len(manifest["shards"])):
            if todo:
                follow(made, manifest, records, progress)
            survey = open_survey(place)
            write_json(place / STATISTICS, survey.statistics().to_dict())
    return survey


def check_folder(out: Path, resume: bool) -> None:
    """Refuse, before anything is computed, a folder that must not be written to."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out {out} is a file; a survey writes a folder.")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    ours = {MANIFEST, SHARDS, NULLS, STATISTICS, LOCK}
    foreign = sorted(name for name in found - ours if ".part" not in name)
    if foreign:
        raise OutputError(
            f"--out {out} holds files that a survey does not write ({', '.join(foreign[:5])}); give another "
            "folder."
        )
    if MANIFEST in found and not resume:
        manifest = read_manifest(out)
        whole = sum(record_path(out, i).is_file() for i in range(len(manifest["shards"])))
        raise OutputError(
            f"--out {out} holds a survey, {whole} of {len(manifest['shards'])} shards: go on with "
            "--resume, or give another folder."
        )


def prepare(
    out: Path, settings: SurveySettings, device: str
) -> tuple[ResidualModel, dict[str, Any]]:
    """The model and the manifest: a new one, or the one that is there where it is the same.

    The machine that only plans needs no GPU: weights have one hash on every ``device``.
    """
    source = settings.source()
    plan = make_plan(source, settings.shards)
    model = load(settings, device)
    check_k(settings.k, model.n_outputs)
    manifest = make_manifest(settings, model, source, plan)
    remove_parts(out)
    if (out / MANIFEST).is_file():
        check_same(out, read_manifest(out), manifest)
    else:
        write_json(out / MANIFEST, manifest)
    if plan.unreadable:
        logger.warning(
            "%s of %s documents cannot be read; the records of the shards name each and say why.",
            f"{plan.unreadable:,}", f"{plan.documents:,}",
        )  # fmt: skip
    return model, manifest


def missing(out: Path, shards: Sequence[Shard]) -> tuple[list[Shard], list[dict[str, Any]]]:
    """The shards that are still to be made, and the records of the others; broken ones are named."""
    todo, records = [], []
    for shard in shards:
        record, wrong = check_shard(out, shard.index)
        if record is None:
            todo.append(shard)
            record_path(out, shard.index).unlink(missing_ok=True)
            if wrong:
                logger.warning("Shard %d is broken and is made again: %s.", shard.index, wrong)
        else:
            records.append(record)
    return todo, records


def follow(
    made: Generator[dict[str, Any], None, None],
    manifest: dict[str, Any],
    records: list[dict[str, Any]],
    progress: bool,
) -> None:
    """Wait for the shards; tokens, tokens per second and the time left, by bytes, while they come."""
    sizes = {shard["index"]: shard["size"] for shard in manifest["shards"]}
    size = sum(sizes[record["shard"]] for record in records)
    tokens = sum(record["tokens"] for record in records)
    whole = len(records)
    with tqdm(
        desc=f"survey, {manifest['model']['name']}", unit=" tokens", initial=tokens, smoothing=0,
        unit_scale=True, disable=not progress,
    ) as bar:  # fmt: skip
        try:
            for record in made:
                size, whole = size + sizes[record["shard"]], whole + 1
                tokens += record["tokens"]
                bar.total = round(tokens * manifest["corpus"]["bytes"] / max(size, 1))
                bar.set_postfix_str(f"shard {whole} of {len(sizes)}", refresh=False)
                bar.update(record["tokens"])
        finally:
            made.close()


@contextmanager
def told(out: Path, shards: int) -> Generator[None, None, None]:
    """What ends a run says how much is there, and how to go on."""

    def whole() -> str:
        return f"{sum(record_path(out, i).is_file() for i in range(shards))} of {shards} shards"

    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; {whole()} are in {out}: the same command with --resume goes on from there."
        ) from None
    except OutputError as error:
        raise OutputError(
            f"{error} {whole()} are whole: make room, and go on with --resume."
        ) from error
