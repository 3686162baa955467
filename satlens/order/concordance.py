"""Concordance of ranks and saturation layers, with censoring (Harrell's C of survival analysis).

    c = (concordant + tied / 2) / comparable        over the rank pairs of all tokens

with the pairs of `satlens.order.pairs`. 1/2 is no order, 1 the order 1, 2, ... k, 0 its reverse. A layer
seen fixed only at the output is later than every other one and not comparable with its like.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.order.pairs import COMPARABLE, CONCORDANT, TIED, check_ranks, pair_counts, rank_pairs
from satlens.order.permutation import permuted_ascents
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document
from satlens.saturation.events import SaturationEvents
from satlens.significance import Test, check_alternative, permutation_p, sign_flip


@dataclass(frozen=True)
class Concordance:
    """The share of comparable pairs of ranks that are fixed in order; 1/2 is no order.

    Attributes:
        estimate: (concordant + tied / 2) / comparable, with its interval over documents.
        tied: share of the comparable pairs that are tied before the last layer.
        comparable: share of all pairs that can be compared.
        pairs: ``[k, k]`` concordance of ranks i < j at [i - 1, j - 1]; NaN elsewhere.
        pairs_low, pairs_high: the intervals of ``pairs``.
        by_documents: sign flips of (document's concordance - 1/2): holds however tokens of one
            document resemble each other.
        by_permutation: layers shuffled inside every token: takes tokens as independent once their
            k layers are given.
    """

    estimate: Estimate
    tied: Estimate
    comparable: Estimate
    pairs: Float[ndarray, "k k"]
    pairs_low: Float[ndarray, "k k"]
    pairs_high: Float[ndarray, "k k"]
    by_documents: Test
    by_permutation: Test


def concordance_of(sums: Float[ndarray, "*draw counts"]) -> Float[ndarray, "*draw"]:
    """(concordant + tied / 2) / comparable of summed counts, NaN where nothing can be compared."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (sums[..., CONCORDANT] + sums[..., TIED] / 2) / sums[..., COMPARABLE]
    return np.asarray(share)


def concordance(
    events: SaturationEvents,
    *,
    alternative: str = "greater",
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Concordance:
    """Of two ranks of a token, how often is the higher one fixed first? Censored layers are no ties.

    Args:
        alternative: of both tests: "greater" (the order 1, 2, ... k), "less" or "two-sided".

    Returns:
        Shares between 0 and 1; NaN, with a note in the tests, where no pair can be compared.

    Raises:
        InputError: no tokens, k below 2, unusable draws, level or alternative.

    Source: Harrell et al. 1982, with the rank as the prediction and the layer as the time.

    Example:
        >>> events = SaturationEvents([[0, 3], [1, 3]], [[7, 5], [1, 2]], [0, 1], [0, 0], n_layers=4)
        >>> result = concordance(events)
        >>> result.estimate.value, result.comparable.value, result.by_documents.p
        (1.0, 1.0, 0.25)
    """
    check_ranks(events, "concordance")
    check_alternative(alternative)
    counts = pair_counts(events.layer, events.n_layers)
    n_pairs = counts.shape[1]
    sums = by_document(counts.reshape(len(events), -1), events.doc).reshape(-1, n_pairs, 3)
    tokens = by_document(np.ones((len(events), 1)), events.doc)
    settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    documents = concordance_of(sums.sum(1)) - 0.5
    return Concordance(
        *_shares(np.concatenate([sums.sum(1), n_pairs * tokens], axis=1), settings),
        *_pair_matrices(sums, events.k, settings),
        by_documents=sign_flip(documents, alternative=alternative, draws=draws, seed=seed),
        by_permutation=_permutation_test(events, sums.sum((0, 1)), alternative, draws, seed),
    )


def _shares(
    sums: Float[ndarray, "doc 4"], settings: dict[str, Any]
) -> tuple[Estimate, Estimate, Estimate]:
    """Concordance, tied share and comparable share; the last column counts all pairs."""

    def shares(s: Float[ndarray, "... 4"]) -> Float[ndarray, "... 3"]:
        tied, comparable = s[..., TIED] / s[..., COMPARABLE], s[..., COMPARABLE] / s[..., 3]
        return np.stack([concordance_of(s), tied, comparable], axis=-1)

    result = bootstrap(sums, shares, **settings)
    return result[0], result[1], result[2]


def _pair_matrices(
    sums: Float[ndarray, "doc pair 3"], k: int, settings: dict[str, Any]
) -> tuple[Float[ndarray, "k k"], Float[ndarray, "k k"], Float[ndarray, "k k"]]:
    """The concordance of each rank pair and both ends of its interval."""
    n_pairs = sums.shape[1]
    flat = sums.reshape(len(sums), -1)
    result = bootstrap(
        flat, lambda s: concordance_of(s.reshape(*s.shape[:-1], n_pairs, 3)), **settings
    )
    matrices = np.full((3, k, k), np.nan)
    for pair, (i, j) in enumerate(rank_pairs(k)):
        matrices[:, i, j] = result.value[pair], result.low[pair], result.high[pair]
    return matrices[0], matrices[1], matrices[2]


def _permutation_test(
    events: SaturationEvents, totals: Float[ndarray, " 3"], alternative: str, draws: int, seed: int
) -> Test:
    """Shuffling a token's layers moves only its concordant count: ties and comparable pairs stay."""
    observed = float(concordance_of(totals))
    if np.isnan(observed):
        note = "no test: every rank was seen fixed only at the output"
        return Test(np.nan, np.nan, alternative, 0, seed, note=note)
    keep = np.full(len(events), events.k)
    drawn = permuted_ascents(events.layer, keep, lambda _: 1.0, draws=draws, seed=seed)
    p = permutation_p(float(totals[CONCORDANT]), drawn, alternative)
    return Test(observed, p, alternative, draws, seed)
