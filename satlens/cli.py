"""The command line: ``satlens VERB MODEL ...``.

Each verb is a plain function; tyro makes its arguments out of the signature and the docstring.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from satlens.conventions import DEFAULT_K
from satlens.errors import InputError, SatlensError

INTERRUPTED = 130
"""The exit status a shell gives to a program stopped by Ctrl-C."""


def audit(
    model: Annotated[Positional[str | None], arg(metavar="MODEL")] = None,
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
    separator: str = "<|endoftext|>",
    settings: Annotated[Path | None, arg(name="from", metavar="SETTINGS.YAML")] = None,
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
        overwrite: replace the run that the folder holds.
    """
    from satlens.runs import AuditSettings, run_audit

    if (settings is None) == (model is None):
        raise InputError(
            "Give a MODEL, or --from DIR/settings.yaml to repeat a run; one of the two."
        )
    asked = (
        AuditSettings.read(settings)
        if settings is not None
        else AuditSettings(
            model=model, corpus=corpus, k=k, max_tokens=max_tokens, null_tokens=null_tokens,
            draws=draws, untrained_seeds=untrained_seeds, seed=seed, batch_size=batch_size,
            separator=separator,
        )
    )  # fmt: skip
    sys.stdout.write(run_audit(asked, out, overwrite=overwrite, progress=True) + "\n")


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


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; an error of ours is one message on standard error and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("satlens").setLevel(logging.INFO)
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"audit": audit, "detect": detect},
            prog="satlens",
            description="From which layer on does the model know?",
            args=arguments,
            config=(OmitArgPrefixes,),
        )
    except SatlensError as error:
        sys.stderr.write(f"satlens: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("satlens: interrupted; nothing was written.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
