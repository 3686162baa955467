"""``satlens exits``."""

from pathlib import Path

from satlens.cli.arguments import TEXT_END, From, Model, run_verb
from satlens.conventions import DEFAULT_K


def exits(
    model: Model = None,
    /,
    *,
    out: Path,
    corpus: str = "bundled",
    k: int = DEFAULT_K,
    stages: int = 2,
    per_cell: int = 400,
    min_states: int = 50,
    test_share: float = 0.5,
    splits: int = 3,
    points: int = 16,
    fit_tokens: int = 5_000,
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.2),
    delta: float = 0.1,
    untrained_seeds: int = 1,
    max_tokens: int = 20_000,
    seed: int = 0,
    batch_size: int = 8,
    separator: str = TEXT_END,
    settings: From = None,
    overwrite: bool = False,
) -> None:
    """What does leaving early give, and what does it save? Adds DIR/exits and its part of the page.

    Args:
        model: "tiny" (bundled), a Hugging Face name, a local folder, or FILE.py:FUNCTION (runs the file).
        out: the folder to write to: a new one, or one with other runs of the same model.
        corpus: "bundled", a text file, or a folder of .txt files; for an encoder-decoder a .jsonl file of
            pairs (source, target).
        k: ranks to follow for the stage probe.
        stages: stages that the probe tells apart; every one after the first means: leave.
        per_cell: states kept of each stage at each layer, to fit the probe on.
        min_states: fit the probe on a layer if it has this many of its rarest stage.
        test_share: share of the documents that nothing is fitted on.
        splits: splits of the documents; what their verdicts do not agree on cannot be told.
        points: thresholds of each policy.
        fit_tokens: training tokens of the exit classifiers and the thresholds, at most.
        epsilons: calibrate thresholds so that at most this share of new tokens disagrees.
        delta: the probability that a calibrated threshold fails.
        untrained_seeds: 1 to evaluate an untrained model too, 0 not to.
        max_tokens: read the first documents, up to this many tokens.
        seed: of everything random.
        batch_size: windows in one forward pass.
        separator: the text between two documents of a file.
        settings: repeat a run from its settings.yaml; then no other setting is read.
        overwrite: replace the exits that the folder holds.
    """
    from satlens.runs import ExitsSettings, run_exits

    values = dict(
        corpus=corpus, k=k, stages=stages, per_cell=per_cell, min_states=min_states, test_share=test_share,
        splits=splits, points=points, fit_tokens=fit_tokens, epsilons=epsilons, delta=delta,
        untrained_seeds=untrained_seeds, max_tokens=max_tokens, seed=seed, batch_size=batch_size,
        separator=separator,
    )  # fmt: skip
    run_verb(run_exits, ExitsSettings, model, settings, values, out, overwrite)
