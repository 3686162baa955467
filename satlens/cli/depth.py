"""``satlens depth``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


def depth(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    draws: int = 5,
    untrained_seeds: int = 1,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    mask_share: float = 0.15,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Where do the blocks go: before an answer is fixed, or after? Adds DIR/depth and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write to: a new one, or one with other runs of the same model.
        corpus: what the model reads, as for satlens audit.
        k: ranks to follow.
        draws: draws of each path null, over every token that is read.
        untrained_seeds: 1 to read an untrained model of the same shape beside it, 0 for none.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a text file.
        mask_share: of a masked language model, the share of each document's tokens that it is asked for.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the depth run that the folder holds.
    """
    from satlens.runs import DepthSettings, run_depth

    values = dict(
        corpus=corpus, k=k, draws=draws, untrained_seeds=untrained_seeds, max_tokens=max_tokens, seed=seed,
        batch_size=batch_size, separator=separator, mask_share=mask_share,
    )  # fmt: skip
    run_verb(run_depth, DepthSettings, model, settings, values, out, overwrite)
