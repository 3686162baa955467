"""``satlens audit``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


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
    mask_share: float = 0.15,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Are the top-k tokens fixed in order of rank? Writes a folder with the page and the numbers.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write: report.html, results.json, events.parquet, settings.yaml.
        corpus: what the model reads. Text: "bundled", a text file, or a folder of .txt files; images or
            recordings: a folder of them, or one; pairs: a .jsonl file (source, target), or one with tabs.
        k: ranks to follow.
        max_tokens: read the first documents, up to this many tokens.
        null_tokens: draw the nulls for the first documents, up to this many tokens.
        draws: draws of each null model (20 or more).
        untrained_seeds: untrained models to stand beside the trained one.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a text file.
        mask_share: of a masked language model, the share of each document's tokens that it is asked for.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the audit that the folder holds.
    """
    from satlens.runs import AuditSettings, run_audit

    values = dict(
        corpus=corpus, k=k, max_tokens=max_tokens, null_tokens=null_tokens, draws=draws,
        untrained_seeds=untrained_seeds, seed=seed, batch_size=batch_size, separator=separator,
        mask_share=mask_share,
    )  # fmt: skip
    run_verb(run_audit, AuditSettings, model, settings, values, out, overwrite)
