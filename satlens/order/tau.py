"""Strict Kendall tau: every pair of ranks that is not in order, ties included, counts against it.

    tau = (concordant - (pairs - concordant)) / pairs  =  2 concordant / pairs - 1

per token (`strict_tau`), and as published, after a filter and a cut (`paper_tau`). Pairs are those of
`satlens.order.pairs`; ties and censoring are treated soundly by `satlens.order.concordance`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import stats

from satlens.conventions import DEFAULT_SEED, is_censored
from satlens.errors import InputError
from satlens.order.pairs import CONCORDANT, check_ranks, pair_counts, rank_pairs
from satlens.order.permutation import permuted_ascents
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document, check_draws
from satlens.saturation.events import SaturationEvents
from satlens.significance import permutation_p

MAX_LAYER_SHARE, MIN_RANKS = 0.85, 3
"""The filter and the cut of `paper_tau`, as published."""
PAPER_NOTE = (
    "As published, for comparison only: anti-conservative (the filter and the cut select tokens that "
    "look ordered, the shuffled tokens are not selected the same way, and tokens are taken as "
    "independent), so that p < 0.001 arises without any order."
)


def strict_tau(events: SaturationEvents) -> Float[ndarray, " token"]:
    """How far each token's ranks are fixed in order, -1 .. 1, a tie counting against the order.

    No filter and no cut. A token whose ranks are all seen fixed only at the output has -1: with
    many censored ranks use `concordance`.

    Raises:
        InputError: no tokens, or k below 2.

    Source: the statistic of Lioubashevski et al. 2025, section 3, on all tokens.

    Example:
        >>> events = SaturationEvents([[0, 2, 1], [1, 1, 1]], [[7, 5, 6], [1, 2, 3]], [0, 0], [0, 1], 4)
        >>> strict_tau(events).round(3).tolist()
        [0.333, -1.0]
    """
    check_ranks(events, "strict_tau")
    return strict_tau_of(events.layer)


def strict_tau_of(layer: Int[ndarray, "*draw token k"]) -> Float[ndarray, "*draw token"]:
    """`strict_tau` of bare layers."""
    concordant = pair_counts(layer, n_layers=0)[..., CONCORDANT].sum(-1)
    return 2 * concordant / len(rank_pairs(layer.shape[-1])) - 1


@dataclass(frozen=True)
class PaperTau:
    """The published order statistic. Read it for comparison only; see `paper_tau` for why.

    Attributes:
        tau: mean strict tau of the kept tokens; NaN if none is kept.
        p: (hits + 1) / (draws + 1) of the published permutation test, one-sided.
        p_published: hits / draws as published, which can be 0.
        tokens, filtered, kept: tokens at first, after the filter, with 3 ranks or more after the cut.
        place: per rank, the mean place (1 .. k) of its layer among the token's k sorted layers.
        place_se: standard error of each, tokens taken as independent.
        t, t_p: t-tests between the places of neighbouring ranks, k - 1 each.
    """

    tau: float
    p: float
    p_published: float
    tokens: int
    filtered: int
    kept: int
    place: tuple[float, ...]
    place_se: tuple[float, ...]
    t: tuple[float, ...]
    t_p: tuple[float, ...]
    draws: int
    seed: int
    interval: Estimate
    """tau once more, with an interval over documents, which the published statistic has not."""
    note: str = PAPER_NOTE


def paper_tau(
    events: SaturationEvents,
    *,
    max_layer_share: float = MAX_LAYER_SHARE,
    min_ranks: int = MIN_RANKS,
    draws: int = 1000,
    seed: int = DEFAULT_SEED,
) -> PaperTau:
    """The published statistic as published: filter, trailing cut, strict tau, permutation test, places.

    1. Filter: tokens whose rank 1 has ``s_1 <= int(max_layer_share * L)``.
    2. Cut: ranks after the last one fixed before the output are dropped (m ranks stay); tokens with
       fewer than ``min_ranks`` left are dropped. tau = mean over tokens of the strict tau of ranks 1..m.
    3. Test: all k layers of a token are shuffled, the first m taken, and tau computed again; one-sided.
    4. Places: for ranks fixed before the output, the place of the layer among the k sorted ones
       (the lowest of equal ones); independent t-tests between neighbouring ranks.

    It is anti-conservative. The filter keeps tokens with an EARLY rank 1 and the cut drops LATE last
    ranks: both favour tau > 0 where layers have nothing to do with ranks. The shuffled tokens keep
    the m of the real one but may hold ranks fixed at the output, which tie, and a tie counts
    against. And tokens of one document are taken as independent. Saturation layers are those of
    `satlens.conventions`; a rank fixed from the first layer on is 0 (the public code has L).

    Raises:
        InputError: no tokens, k below 2, unusable settings.

    Source: Lioubashevski et al. 2025 (arXiv 2410.20210), section 3, and its public code.

    Example:
        >>> events = SaturationEvents([[0, 1, 2]] * 9, [[7, 5, 6]] * 9, [0] * 9, range(9), n_layers=4)
        >>> result = paper_tau(events)
        >>> result.tau, result.place, result.p < 0.05
        (1.0, (1.0, 2.0, 3.0), True)
    """
    check_ranks(events, "paper_tau")
    check_draws(draws, LEVEL)
    if not 0 < max_layer_share <= 1 or min_ranks < 2:
        raise InputError(
            "paper_tau wants max_layer_share in (0, 1] and min_ranks of 2 or more; got "
            f"{max_layer_share} and {min_ranks}."
        )
    early = is_early(events.layer, events.n_layers, max_layer_share)
    layer = events.layer[early]
    m = kept_ranks(layer, events.n_layers, max_layer_share, min_ranks)
    tau, p, p_published = _cut_tau(layer[m > 0], m[m > 0], draws, seed)
    return PaperTau(
        tau, p, p_published, len(events), len(layer), int((m > 0).sum()),
        *_places(layer, ~is_censored(layer, events.n_layers)), draws=draws, seed=seed,
        interval=_over_documents(layer[m > 0], m[m > 0], events.doc[early][m > 0], seed),
    )  # fmt: skip


def is_early(
    layer: Int[ndarray, "token k"], n_layers: int, max_layer_share: float = MAX_LAYER_SHARE
) -> Bool[ndarray, " token"]:
    """The filter of `paper_tau`: tokens whose rank 1 is fixed in time."""
    return layer[:, 0] <= int(max_layer_share * n_layers)


def kept_ranks(
    layer: Int[ndarray, "token k"],
    n_layers: int,
    max_layer_share: float = MAX_LAYER_SHARE,
    min_ranks: int = MIN_RANKS,
) -> Int[ndarray, " token"]:
    """How many ranks `paper_tau` keeps of each token; 0 for tokens that it drops."""
    seen = ~is_censored(layer, n_layers)
    m = np.where(seen.any(1), layer.shape[1] - seen[:, ::-1].argmax(1), 0)
    return np.where(is_early(layer, n_layers, max_layer_share) & (m >= min_ranks), m, 0)


def in_order_shares(
    layer: Int[ndarray, "token k"], m: Int[ndarray, " token"]
) -> Float[ndarray, " token"]:
    """Share of the pairs among ranks 1..m that are in order; 0 for m = 0."""
    last = np.array([j for _, j in rank_pairs(layer.shape[1])])
    in_order = pair_counts(layer, n_layers=0)[..., CONCORDANT] * (last < m[:, None])
    return in_order.sum(1) / np.maximum(m * (m - 1) / 2, 1)


def _cut_tau(
    layer: Int[ndarray, "token k"], m: Int[ndarray, " token"], draws: int, seed: int
) -> tuple[float, float, float]:
    """Mean strict tau of ranks 1..m, and its permutation p with and without the + 1."""
    if len(layer) == 0:
        return np.nan, np.nan, np.nan
    observed = float(in_order_shares(layer, m).mean())
    drawn = permuted_ascents(layer, m, lambda m: 2 / (m * (m - 1)), draws=draws, seed=seed)
    p = permutation_p(observed, drawn / len(layer), "greater")
    return 2 * observed - 1, p, (p * (draws + 1) - 1) / draws


def _over_documents(layer: ndarray, m: ndarray, doc: ndarray, seed: int) -> Estimate:
    """The same mean, with its interval over the documents that keep a token."""
    if len(layer) == 0:
        return Estimate(np.nan, np.nan, np.nan, seed=seed, note="no interval: no token is kept")
    share = in_order_shares(layer, m)
    sums = by_document(np.stack([share, np.ones(len(m))], 1), doc)
    return bootstrap(sums, lambda s: 2 * s[..., :1] / s[..., 1:] - 1, draws=DRAWS, seed=seed)[0]


def _places(
    layer: Int[ndarray, "token k"], seen: Bool[ndarray, "token k"]
) -> tuple[tuple[float, ...], ...]:
    """Per rank the mean place and its standard error; per neighbouring pair t and p."""
    k = layer.shape[1]
    place = 1 + (layer[:, None, :] < layer[:, :, None]).sum(2)
    samples = [place[seen[:, i], i] for i in range(k)]
    mean = tuple(float(x.mean()) if len(x) else np.nan for x in samples)
    error = tuple(float(x.std() / np.sqrt(len(x))) if len(x) else np.nan for x in samples)
    tests = [_t_test(samples[i], samples[i + 1]) for i in range(k - 1)]
    return mean, error, tuple(t for t, _ in tests), tuple(p for _, p in tests)


def _t_test(first: ndarray, second: ndarray) -> tuple[float, float]:
    """Student's t between two samples; NaN where either cannot vary."""
    if min(len(first), len(second)) < 2 or first.std() + second.std() == 0:
        return np.nan, np.nan
    result = stats.ttest_ind_from_stats(
        first.mean(), first.std(ddof=1), len(first), second.mean(), second.std(ddof=1), len(second)
    )
    return float(result.statistic), float(result.pvalue)
