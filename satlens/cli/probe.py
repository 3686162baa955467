"""``satlens probe``."""

from pathlib import Path
from typing import Literal

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


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
    mask_share: float = 0.15,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Does the residual state tell which rank is being settled? Adds DIR/probe and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write to: a new one, or one with an audit or a patch of the same model.
        corpus: what the model reads. Text: "bundled", a text file, or a folder of .txt files; images or
            recordings: a folder of them, or one; pairs: a .jsonl file (source, target), or one with tabs.
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
        separator: the text between two documents of a text file.
        mask_share: of a masked language model, the share of each document's tokens that it is asked for.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the probe that the folder holds.
    """
    from satlens.runs import ProbeSettings, run_probe

    values = dict(
        corpus=corpus, k=k, stages=stages, per_cell=per_cell, min_states=min_states, folds=folds,
        draws=draws, untrained_seeds=untrained_seeds, out_of_order=out_of_order, ties=ties,
        censored=censored, max_tokens=max_tokens, seed=seed, batch_size=batch_size, separator=separator,
        mask_share=mask_share,
    )  # fmt: skip
    run_verb(run_probe, ProbeSettings, model, settings, values, out, overwrite)
