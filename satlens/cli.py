"""The command line: ``satlens VERB MODEL ...``.

Each verb is a plain function; tyro makes its arguments out of the signature and the docstring.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from satlens.conventions import DEFAULT_K
from satlens.errors import InputError, SatlensError

INTERRUPTED = 130
"""The exit status a shell gives to a program stopped by Ctrl-C."""

Model = Annotated[Positional[str | None], arg(metavar="MODEL")]
From = Annotated[Path | None, arg(name="from", metavar="SETTINGS.YAML")]
TEXT_END = "<|endoftext|>"


def audit(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    max_tokens: int = 20_000,
    null_tokens: int = 5_000,
    draws: int = 20,
    untrained_seeds: int = 3,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Are the top-k tokens fixed in order of rank? Writes a folder with the page and the numbers.

    Args:
        model: "tiny" (bundled), a Hugging Face name, or a local folder.
        out: the folder to write: report.html, results.json, events.parquet, settings.yaml.
        corpus: "bundled", a text file, or a folder of .txt files.
        k: ranks to follow.
        max_tokens: read the first documents, up to this many tokens.
        null_tokens: draw the nulls for the first documents, up to this many tokens.
        draws: draws of each null model (20 or more).
        untrained_seeds: untrained models to stand beside the trained one.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the audit that the folder holds.
    """
    from satlens.runs import AuditSettings, run_audit

    values = dict(
        corpus=corpus, k=k, max_tokens=max_tokens, null_tokens=null_tokens, draws=draws,
        untrained_seeds=untrained_seeds, seed=seed, batch_size=batch_size, separator=separator,
    )  # fmt: skip
    _run(run_audit, AuditSettings, model, settings, values, out, overwrite)


def probe(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    stages: int | None = None,
    per_cell: int = 400,
    min_states: int = 50,
    folds: int = 5,
    draws: int = 3,
    untrained_seeds: int = 1,
    out_of_order: Literal["running_max", "drop"] = "running_max",
    ties: Literal["skip", "drop"] = "skip",
    censored: Literal["keep", "drop"] = "keep",
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Does the residual state tell which rank is being settled? Adds DIR/probe and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, or a local folder.
        out: the folder to write to: a new one, or one with an audit or a patch of the same model.
        corpus: "bundled", a text file, or a folder of .txt files.
        k: ranks to follow.
        stages: stages to tell apart; as many as some layer can fill, if not given.
        per_cell: states kept of each stage at each layer.
        min_states: use a layer if it has this many states of its rarest stage.
        folds: parts of the documents for cross-validation.
        draws: draws of each control that holds chance.
        untrained_seeds: untrained models to stand beside the trained one.
        out_of_order: a rank fixed before a higher one waits for it, or its token is left out.
        ties: two ranks fixed at one layer: the second stage is skipped, or the token is left out.
        censored: keep or leave out states whose stage ends at the output.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the probe that the folder holds.
    """
    from satlens.runs import ProbeSettings, run_probe

    values = dict(
        corpus=corpus, k=k, stages=stages, per_cell=per_cell, min_states=min_states, folds=folds,
        draws=draws, untrained_seeds=untrained_seeds, out_of_order=out_of_order, ties=ties,
        censored=censored, max_tokens=max_tokens, seed=seed, batch_size=batch_size, separator=separator,
    )  # fmt: skip
    _run(run_probe, ProbeSettings, model, settings, values, out, overwrite)


def patch(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    gap: int | None = None,
    across: bool | None = None,
    offsets: tuple[int, ...] | None = None,
    pairs: int = 300,
    stage: int = 1,
    alphas: tuple[float, ...] = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0),
    steered: int = 300,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Can a state, or a direction, force the next stage? Adds DIR/patch and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, or a local folder.
        out: the folder to write to: a new one, or one with an audit or a probe of the same model.
        corpus: "bundled", a text file, or a folder of .txt files.
        k: ranks to follow.
        gap: layers between the saturation of donor and recipient, at least; 0.21 L, if not given.
        across: True: donors of another document; False: of the same one; None: either.
        offsets: layers from the donor's saturation layer, 0 among them; if not given, -5 .. 5, cut.
        pairs: pairs to patch, at most.
        stage: the stage to steer out of.
        alphas: strengths of steering, 1 among them.
        steered: tokens to steer, at most.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the patch that the folder holds.
    """
    from satlens.runs import PatchSettings, run_patch

    values = dict(
        corpus=corpus, k=k, gap=gap, across=across, offsets=offsets, pairs=pairs, stage=stage,
        alphas=alphas, steered=steered, max_tokens=max_tokens, seed=seed, batch_size=batch_size,
        separator=separator,
    )  # fmt: skip
    _run(run_patch, PatchSettings, model, settings, values, out, overwrite)


def detect(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    text: Annotated[Positional[str], arg(metavar="TEXT")],
    /,
    *,
    k: int = DEFAULT_K,
) -> None:
    """The tokens of one text, and the layer from which each of the top k is fixed.

    Args:
        model: "tiny" (bundled), a Hugging Face name, or a local folder.
        text: the text; "-" reads it from standard input.
        k: ranks to follow.
    """
    import satlens
    from satlens.report.detect_view import detect_table

    wrapped = satlens.wrap(satlens.load_model(model))
    events = satlens.detect(wrapped, sys.stdin.read() if text == "-" else text, k=k)
    sys.stdout.write(detect_table(events, wrapped.tokenizer) + "\n")


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
        model: "tiny" (bundled), a Hugging Face name, or a local folder.
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


VERBS = {"audit": audit, "probe": probe, "patch": patch, "survey": survey, "detect": detect}


def _run(
    run: Callable[..., str],
    kind: Any,
    model: str | None,
    path: Path | None,
    values: dict[str, Any],
    out: Path,
    overwrite: bool,
) -> None:
    """One run: its settings from a file or from the arguments, its tables on standard output."""
    if (path is None) == (model is None):
        raise InputError(
            "Give a MODEL, or --from DIR/settings.yaml to repeat a run; one of the two."
        )
    asked = kind.read(path) if path is not None else kind(model=model, **values)
    sys.stdout.write(run(asked, out, overwrite=overwrite, progress=True) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; an error of ours is one message on standard error and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("satlens").setLevel(logging.INFO)
    try:
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="satlens",
            description="From which layer on does the model know?",
            args=arguments,
            config=(OmitArgPrefixes,),
        )
    except SatlensError as error:
        sys.stderr.write(f"satlens: {error}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"satlens: {str(stop) or 'interrupted; nothing was written.'}\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
