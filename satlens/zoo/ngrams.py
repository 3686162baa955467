r"""Baselines: interpolated Kneser-Ney n-gram models over the same tokens.

With ``c`` the count of an n-gram, ``u`` a context and ``u'`` the context without its first token,

    p(w | u) = max(c(uw) - D, 0) / c(u.) + D * N(u.) / c(u.) * p(w | u')

where ``c(u.)`` sums ``c(uw)`` over ``w`` and ``N(u.)`` is the number of distinct ``w`` seen after
``u``.  The highest order counts occurrences, each lower order the distinct tokens that precede
(continuation counts); below the unigram stands the uniform 1/V.  ``D = n1 / (n1 + 2 n2)`` for each
order, with ``n1`` and ``n2`` the numbers of n-grams of count one and two (Ney, Essen and Kneser
1994; Chen and Goodman 1999, section 2.7).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from satlens.errors import InputError
from satlens.zoo.data import BOUNDARY_ID

Gram = tuple[int, ...]


class NGram:
    """An interpolated Kneser-Ney model of a given order (1: unigram, 3: trigram).

    A document is ``[<|endoftext|>, w_1, ..., w_n, <|endoftext|>]``; all but its first token are
    predicted, as they are by the network.
    """

    def __init__(self, order: int, vocab: int) -> None:
        if order < 1 or vocab < 1:
            raise InputError(f"order is {order} and vocab is {vocab}; both must be at least 1.")
        self.order = order
        self.vocab = vocab
        self.counts: list[Counter[Gram]] = []  # by n-gram length - 1
        self.totals: list[Counter[Gram]] = []  # c(u.), by context length
        self.distinct: list[Counter[Gram]] = []  # N(u.), by context length
        self.discounts: list[float] = []

    def fit(self, documents: Iterable[Sequence[int]]) -> NGram:
        """Count the training documents."""
        counts = Counter(gram for ids in documents for gram in self._grams(ids))
        if not counts:
            raise InputError("No document has a token to predict; give documents of two or more.")
        self.counts = [counts]
        for _ in range(self.order - 1):
            self.counts.insert(0, Counter(gram[1:] for gram in self.counts[0]))
        self.totals, self.distinct, self.discounts = [], [], []
        for table in self.counts:
            totals: Counter[Gram] = Counter()
            for gram, count in table.items():
                totals[gram[:-1]] += count
            self.totals.append(totals)
            self.distinct.append(Counter(gram[:-1] for gram in table))
            self.discounts.append(_discount(table))
        return self

    def probability(self, token: int, context: Sequence[int]) -> float:
        """p(token | context); the last ``order - 1`` tokens of the context count."""
        if not self.counts:
            raise InputError("The n-gram model has no counts; call fit(documents) first.")
        before = tuple(context)
        p = 1.0 / self.vocab
        for length in range(self.order):
            if length > len(before):
                break
            given = before[len(before) - length :]
            total = self.totals[length][given]
            if total == 0:
                break  # an unseen context: so are all longer ones
            discount = self.discounts[length]
            kept = max(self.counts[length][(*given, token)] - discount, 0.0)
            p = (kept + discount * self.distinct[length][given] * p) / total
        return p

    def nats(self, ids: Sequence[int]) -> float:
        """-sum log p over the predicted tokens of one document, nats."""
        return -sum(math.log(self.probability(gram[-1], gram[:-1])) for gram in self._grams(ids))

    def _grams(self, ids: Sequence[int]) -> Iterable[Gram]:
        # Boundaries before the document, so that its first token has a full context.
        padded = (BOUNDARY_ID,) * (self.order - 2) + tuple(ids)
        start = max(self.order - 1, 1)
        return (padded[i - self.order + 1 : i + 1] for i in range(start, len(padded)))


def _discount(table: Counter[Gram]) -> float:
    """D = n1 / (n1 + 2 n2), kept off 0 and 1, where a seen or an unseen token would get nothing."""
    once = sum(1 for count in table.values() if count == 1)
    twice = sum(1 for count in table.values() if count == 2)
    return min(max(once / (once + 2 * twice), 0.05), 0.95) if once else 0.05
