"""``satlens shortcut``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


def shortcut(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    test_share: float = 0.3,
    splits: int = 3,
    ridge: float = 0.0,
    intercept: bool = False,
    rank: int | None = None,
    tuned_steps: int = 150,
    submodule_tokens: int = 1_000,
    submodule_layers: int = 8,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    mask_share: float = 0.15,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """What does a linear map tell of the final output? Adds DIR/shortcut and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write to: a new one, or one with other runs of the same model.
        corpus: what the model reads. Text: "bundled", a text file, or a folder of .txt files; images or
            recordings: a folder of them, or one; pairs: a .jsonl file (source, target), or one with tabs.
        k: ranks whose saturation layers are read through each lens.
        test_share: share of the documents that nothing is fitted on.
        splits: splits of the documents; what their verdicts do not agree on cannot be told.
        ridge: penalty of the maps, as a share of the mean squared coordinate; 0 for none.
        intercept: fit a constant beside each map.
        rank: of the maps of low rank; an eighth of the width, if not given.
        tuned_steps: training steps of the tuned lens, of at most 256 tokens each; 0 for none.
        submodule_tokens: replace sub-modules on held-out documents, up to this many tokens; 0 for none.
        submodule_layers: behind at most this many layers.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a text file.
        mask_share: of a masked language model, the share of each document's tokens that it is asked for.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the shortcut that the folder holds.
    """
    from satlens.runs import ShortcutSettings, run_shortcut

    values = dict(
        corpus=corpus, k=k, test_share=test_share, splits=splits, ridge=ridge, intercept=intercept,
        rank=rank, tuned_steps=tuned_steps, submodule_tokens=submodule_tokens,
        submodule_layers=submodule_layers, max_tokens=max_tokens, seed=seed, batch_size=batch_size,
        separator=separator, mask_share=mask_share,
    )  # fmt: skip
    run_verb(run_shortcut, ShortcutSettings, model, settings, values, out, overwrite)
