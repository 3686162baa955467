"""``satlens route``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb


def route(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    penalties: tuple[float, ...] = (0.3, 0.1, 1.0),
    steps: int = 100,
    lr: float = 5e-3,
    train_seeds: int = 3,
    test_share: float = 0.4,
    draws: int = 5,
    k: int = 1,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """Which tokens could skip which blocks of this model? Adds DIR/route and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file); it
            must predict the next token. It stays as it is; small routers are trained on it.
        out: the folder to write to: a new one, or one with other runs of the same model.
        corpus: "bundled", a text file, or a folder of .txt files.
        penalties: lambdas, how much skipping is asked for; the verdicts are taken on the first.
        steps: of each training.
        lr: learning rate at the start; it falls along a cosine to a tenth.
        train_seeds: trainings of the first lambda; what they do not agree on cannot be told.
        test_share: share of the documents that the routers are judged on and never trained on.
        draws: draws of each path null.
        k: the rank whose saturation skipping is held against.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass, and in one step of the training.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the route run that the folder holds.
    """
    from satlens.runs import RouteSettings, run_route

    values = dict(
        corpus=corpus, penalties=penalties, steps=steps, lr=lr, train_seeds=train_seeds,
        test_share=test_share, draws=draws, k=k, max_tokens=max_tokens, seed=seed,
        batch_size=batch_size, separator=separator,
    )  # fmt: skip
    run_verb(run_route, RouteSettings, model, settings, values, out, overwrite)
