"""`run_rerank`: is an early rank right more often, and does it make a better next-token distribution."""

from pathlib import Path
from typing import Any

from satlens import reranking
from satlens.report.rerank import figures as rerank_figures
from satlens.report.rerank.tables import summary
from satlens.report.validate import plain, write_results
from satlens.runs.begin import begin
from satlens.runs.folder import PAGE, RESULTS, output_folder
from satlens.runs.results import assemble, save_figures, timed
from satlens.runs.settings import RerankSettings


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
    out = Path(out)
    begun = begin(settings, out, model, overwrite)
    model, said, reading = begun.model, begun.said, begun.reading
    seconds: dict[str, float] = {}
    with output_folder(out, settings, overwrite, said) as folder:
        with timed("rerank", seconds):
            report = reranking.report(
                model, reading.batches, k=settings.k, gap=settings.gap, folds=settings.folds,
                draws=settings.draws, null_tokens=settings.null_tokens,
                untrained_seeds=settings.untrained_seeds, shuffles=settings.shuffles, C=settings.C,
                seed=settings.seed, progress=progress,
            )  # fmt: skip
        results = plain(assemble(settings, said, reading, seconds, report.to_dict()))
        write_results(results, folder / RESULTS)
        report.reranked.reranker.save(folder / "reranker")
        report.tokens.to_frame().to_parquet(folder / "tokens.parquet", index=False)
        save_figures(rerank_figures.save_figures, results, folder)
    return f"{summary(results)}\n\nThe page: {out / PAGE}"
