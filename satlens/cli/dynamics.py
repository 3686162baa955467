"""``satlens dynamics``."""

from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from satlens.cli.arguments import TEXT_END, From, run_verb
from satlens.conventions import DEFAULT_K


def dynamics(
    model: Annotated[Positional[str | None], arg(metavar="CHECKPOINTS")] = None,
    /,
    *,
    out: Path,
    revisions: tuple[str, ...] | None = None,
    rows: Path | None = None,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    draws: int = 20,
    null_tokens: int = 2_000,
    untrained_seeds: int = 1,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """When in training does order appear, and where does the answer move? Adds DIR/dynamics to the page.

    Args:
        model: a folder of checkpoints (checkpoint-500, step1000 ...), the --out folder of python -m
            satlens.zoo.train, or a Hugging Face name with --revisions; it must predict the next token.
        out: the folder to write to: a new one, or one with other runs of the last checkpoint.
        revisions: of a Hugging Face name; the number in each is its step, "143000:main" says it.
        rows: a folder that keeps the numbers of each checkpoint, so that a stopped run goes on.
        corpus: "bundled", a text file, or a folder of .txt files.
        k: ranks to follow.
        draws: draws of each path null.
        null_tokens: path nulls are drawn for the first documents, up to this many tokens.
        untrained_seeds: 1 to put an untrained model in front where there is no step 0, 0 for none.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read (--rows is none).
        overwrite: replace the dynamics run that the folder holds.
    """
    from satlens.runs import DynamicsSettings, run_dynamics

    values = dict(
        revisions=revisions, corpus=corpus, k=k, draws=draws, null_tokens=null_tokens,
        untrained_seeds=untrained_seeds, max_tokens=max_tokens, seed=seed, batch_size=batch_size,
        separator=separator,
    )  # fmt: skip
    run = partial(run_dynamics, rows=rows)
    run_verb(run, DynamicsSettings, model, settings, values, out, overwrite)
