"""`run_rerank`: is an early rank right more often, and does it make a better next-token distribution."""

from pathlib import Path
from typing import Any

from satlens import reranking
from satlens.report.rerank import figures as rerank_figures
from satlens.report.rerank.tables import summary
from satlens.runs.begin import Begun
from satlens.runs.settings import RerankSettings
from satlens.runs.verb import Answer, ask_and_write


def run_rerank(
    settings: RerankSettings,
    out: str | Path,
    model: Any = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> str:
    """Rerank a model's next tokens on a corpus, write ``out/rerank/``, and return the tables as text.

    Writes ``results.json`` (keys: `report/rerank/schema.json`), ``settings.yaml`` (repeats the run),
    ``reranker.safetensors`` with ``reranker.json`` (`satlens.reranking.Reranker.load` reads them),
    ``tokens.parquet`` (one row a position with a next token), with matplotlib ``figures/``, and anew the
    page ``out/report.html`` over all that ``out`` holds; all of them or nothing.

    Args:
        model: the model itself, where it is at hand (a host or a `ResidualModel`); ``settings.model`` is then
            only its name. Without it the model of that name is loaded.

    Raises:
        SatlensError: a model, corpus, setting or output folder that cannot be used.

    Example::

        print(run_rerank(RerankSettings("tiny"), "runs/tiny"))
    """

    def ask(begun: Begun) -> Answer:
        report = reranking.report(
            begun.model, begun.reading.batches, k=settings.k, gap=settings.gap, folds=settings.folds,
            draws=settings.draws, null_tokens=settings.null_tokens,
            untrained_seeds=settings.untrained_seeds, shuffles=settings.shuffles, C=settings.C,
            seed=settings.seed, progress=progress,
        )  # fmt: skip

        def save(folder: Path) -> None:
            report.reranked.reranker.save(folder / "reranker")
            report.tokens.to_frame().to_parquet(folder / "tokens.parquet", index=False)

        return Answer(report.to_dict(), save)

    return ask_and_write(settings, out, model, overwrite, ask, rerank_figures.save_figures, summary)
