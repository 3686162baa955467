"""``satlens rerank``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


def rerank(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    gap: int | None = None,
    folds: int = 5,
    draws: int = 20,
    null_tokens: int = 5_000,
    untrained_seeds: int = 1,
    shuffles: int = 999,
    C: float = 1.0,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Is an early rank right more often, and does it help? Adds DIR/rerank and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file); it
            must predict the next token.
        out: the folder to write to: a new one, or one with other runs of the same model.
        corpus: "bundled", a text file, or a folder of .txt files.
        k: ranks to follow.
        gap: layers before the end that the published test calls early; 7 if not given, or its share of a
            shallow model's depth.
        folds: parts of the documents; what is fitted never sees the part it is judged on.
        draws: draws of each null.
        null_tokens: path nulls are drawn for the first documents, up to this many tokens.
        untrained_seeds: untrained models to stand beside the trained one.
        shuffles: draws of the test that shuffles layers.
        C: inverse penalty of the reranker's weights.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the rerank that the folder holds.
    """
    from satlens.runs import RerankSettings, run_rerank

    values = dict(
        corpus=corpus, k=k, gap=gap, folds=folds, draws=draws, null_tokens=null_tokens,
        untrained_seeds=untrained_seeds, shuffles=shuffles, C=C, max_tokens=max_tokens, seed=seed,
        batch_size=batch_size, separator=separator,
    )  # fmt: skip
    run_verb(run_rerank, RerankSettings, model, settings, values, out, overwrite)
