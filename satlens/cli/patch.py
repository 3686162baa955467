"""``satlens patch``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


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
    mask_share: float = 0.15,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Can a state, or a direction, force the next stage? Adds DIR/patch and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write to: a new one, or one with an audit or a probe of the same model.
        corpus: what the model reads. Text: "bundled", a text file, or a folder of .txt files; images or
            recordings: a folder of them, or one; pairs: a .jsonl file (source, target), or one with tabs.
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
        separator: the text between two documents of a text file.
        mask_share: of a masked language model, the share of each document's tokens that it is asked for.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the patch that the folder holds.
    """
    from satlens.runs import PatchSettings, run_patch

    values = dict(
        corpus=corpus, k=k, gap=gap, across=across, offsets=offsets, pairs=pairs, stage=stage,
        alphas=alphas, steered=steered, max_tokens=max_tokens, seed=seed, batch_size=batch_size,
        separator=separator,
        mask_share=mask_share,
    )  # fmt: skip
    run_verb(run_patch, PatchSettings, model, settings, values, out, overwrite)
