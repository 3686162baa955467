"""``satlens claims``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


def claims(
    model: Model = None,
    /,
    *,
    out: Path,
    only: tuple[str, ...] | None = None,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    mask_share: float = 0.15,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Which claims of the papers hold on this model? Runs what they rest on, and adds DIR/claims to the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write to: a new one, or one with other runs of the same model. Runs that it holds
            are not made again, so a command that was stopped goes on.
        only: ids of claims, as "order stage_exit"; all that apply to what the model reads if not given.
        corpus: what the model reads, as for satlens audit.
        k: ranks to follow.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a text file.
        mask_share: of a masked language model, the share of each document's tokens that it is asked for.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the table of claims that the folder holds; the runs it rests on stay.
    """
    from satlens.claims.job import run_claims
    from satlens.runs import ClaimsSettings

    values = dict(
        only=only, corpus=corpus, k=k, max_tokens=max_tokens, seed=seed, batch_size=batch_size,
        separator=separator, mask_share=mask_share,
    )  # fmt: skip
    run_verb(run_claims, ClaimsSettings, model, settings, values, out, overwrite)
