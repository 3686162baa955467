"""`Evaluation`s written down by hand: what agrees at which layer, and who leaves where."""

import numpy as np

from satlens.exits import ORACLE, Costs, Evaluation
from satlens.resampling import by_document


class Named:
    """A policy by name and threshold alone."""

    def __init__(self, name, threshold) -> None:
        self.name, self.threshold = name, threshold

    def __call__(self, peek):
        raise AssertionError("it is not asked")


def planted(policies, agree, layers, doc=None, correct=None) -> Evaluation:
    """``policies``: by name, (threshold, exit layer of every token); ``agree [token, layer]``.

    ``correct [token, layer]``: nothing unless it is given. Each token is a document of its own unless
    ``doc`` says otherwise.
    """
    n = len(agree)
    doc = np.arange(n) if doc is None else np.asarray(doc)
    documents = np.unique(doc)
    points = [(name, t, np.asarray(e)) for name, own in policies.items() for t, e in own]
    points.append((ORACLE, np.nan, agree.argmax(1)))

    def per_document(values):
        values = np.asarray(values, float)
        return by_document(values.reshape(n, -1), doc).reshape(-1, *values.shape[1:])

    at = np.arange(n)
    exits = np.stack([per_document(e[:, None] == np.arange(layers)) for _, _, e in points])
    agreed = np.stack([per_document(agree[at, e]) for _, _, e in points])
    correct = 0 * agree if correct is None else correct
    right = np.stack([per_document(correct[at, e]) for _, _, e in points])
    blank = np.zeros_like(agreed)
    costs = Costs(*(np.full(layers, value) for value in (1.0, 0.0, 0.0, 0.0)))
    tokens = per_document(np.ones(n, int))
    return Evaluation(
        names=tuple(name for name, _, _ in points), thresholds=np.array([t for _, t, _ in points]),
        doc=documents, tokens=tokens, known=tokens, exits=exits, agree=agreed, correct=right, loss=blank,
        body=(exits * np.arange(1, layers + 1)).sum(2).astype(float), deciding=blank,
        layer_agree=per_document(agree), layer_correct=per_document(correct),
        layer_loss=per_document(0 * agree), layer_body=tokens[:, None] * np.arange(1.0, layers + 1),
        full=tokens * float(layers), costs=costs,
        policies=tuple(Named(name, t) for name, t, _ in points[:-1]),
    )  # fmt: skip
