"""Page's trend test: do the documents' mean layers rise with the rank?

    L = sum_i i * R_i,     R_i = sum over documents of the place of rank i among the document's k means

A document is one row, whatever its number of tokens, so tokens of one document may resemble each other.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from satlens.order.pairs import check_ranks
from satlens.resampling import by_document
from satlens.saturation.events import SaturationEvents


@dataclass(frozen=True)
class PageTrend:
    """Page's L over ``documents`` rows and k ranks, its one-sided p, and the method that gave it."""

    statistic: float
    p: float
    documents: int
    method: str = ""
    note: str = ""


def page_trend(events: SaturationEvents) -> PageTrend:
    """Do the mean saturation layers rise with the rank in document after document? One-sided.

    Returns:
        NaN with a note where the test is not defined: fewer than 2 documents or 3 ranks.

    Raises:
        InputError: no tokens, or k below 2.

    Source: Page 1963, by `scipy.stats.page_trend_test`.

    Example:
        >>> layer = [[0, 1, 2], [1, 2, 3], [0, 2, 3]]
        >>> events = SaturationEvents(layer, [[7, 5, 6]] * 3, [0, 1, 2], [0, 0, 0], n_layers=4)
        >>> page_trend(events).statistic
        42.0
    """
    check_ranks(events, "page_trend")
    sums = by_document(np.column_stack([events.layer, np.ones(len(events))]), events.doc)
    means = sums[:, :-1] / sums[:, -1:]
    documents, k = means.shape
    if documents < 2 or k < 3:
        note = (
            "no test: Page's test needs at least 2 documents and 3 ranks "
            f"(found {documents} and {k})"
        )
        return PageTrend(np.nan, np.nan, documents, note=note)
    result = stats.page_trend_test(means)
    return PageTrend(float(result.statistic), float(result.pvalue), documents, result.method)
