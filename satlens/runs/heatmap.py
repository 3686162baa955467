"""A few documents as the page's token heatmap shows them: text in place of ids."""

from typing import Any

from satlens.models import ResidualModel
from satlens.report.detect_view import token_texts
from satlens.runs.reading import Reading
from satlens.saturation.events import SaturationEvents

DOCUMENTS = 3
POSITIONS = 60


def heatmap(
    events: SaturationEvents, model: ResidualModel, reading: Reading
) -> list[dict[str, Any]]:
    """The first documents, layer by position: what is read, the top k per layer, the layers.

    Args:
        events: detected with ``trajectory=True``.
        model: whose tokenizer turns ids into text; without one the ids are shown.
        reading: what was read; document ``doc`` is ``reading.corpus.documents[doc]``.
    """
    return [
        _document(events[events.doc == doc][:POSITIONS], int(doc), model.tokenizer)
        for doc in sorted(set(events.doc.tolist()))[:DOCUMENTS]
    ]


def _document(events: SaturationEvents, doc: int, tokenizer: Any) -> dict[str, Any]:
    n, n_layers, k = events.top.shape
    shown = token_texts(tokenizer, events.top.ravel().tolist())
    rows = [shown[i : i + k] for i in range(0, len(shown), k)]
    return {
        "doc": doc,
        "title": f"document {doc}",
        "tokens": token_texts(tokenizer, events.input.tolist()),
        "top": [rows[i * n_layers : (i + 1) * n_layers] for i in range(n)],
        "layer": events.layer.tolist(),
    }
