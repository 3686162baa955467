"""The order of the ranks in a model of the same shape with fresh weights: the verdicts of an audit on it."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from satlens import order, runs
from satlens.claims.experiments.base import Experiment, Of
from satlens.models import ResidualModel, untrained, wrap
from satlens.models.protocol import READS
from satlens.runs.audit import trained
from satlens.runs.audit_results import as_published
from satlens.runs.corpora import corpus_of
from satlens.runs.reading import null_documents, read
from satlens.verdicts import HOLDS


def make(of: Of, model: ResidualModel | None, out: Path, progress: bool) -> dict[str, Any]:
    """Draw the weights, detect, draw the nulls, judge."""
    assert model is not None
    settings = of("untrained")
    corpus = corpus_of(model, settings.corpus, separator=settings.separator)
    fresh = replace(wrap(untrained(model, settings.seed)), name=f"{model.name} untrained")
    reading = read(fresh, corpus, settings)
    chosen = null_documents(reading, settings.null_tokens)
    with TemporaryDirectory() as folder:
        path = Path(folder, "events.parquet")
        events, nulls = trained(fresh, reading, chosen, settings, path, progress)
    report = order.report(events, nulls.finish(), seed=settings.seed)
    main = report.to_dict()["verdicts"]
    holds = bool(main) and main[0]["verdict"] == HOLDS
    return {"verdicts": [*main, as_published(report, holds)], "notes": list(reading.notes)}


UNTRAINED = Experiment(make, runs.AuditSettings, tuple(READS), verb="audit")
