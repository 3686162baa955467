"""Every question of this folder asked of one set of events, in one table: `report`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.nulls.block import PATH_NULLS
from satlens.nulls.draws import NullDraws, permuted_draws, untrained_draws
from satlens.order.concordance import Concordance, concordance
from satlens.order.excess import MARGIN, STATISTICS, Excess, Verdict, excess, verdict
from satlens.order.pairs import check_ranks
from satlens.order.survival import Coverage, Flips, Survival, coverage, flips, survival
from satlens.order.tau import PaperTau, paper_tau, strict_tau
from satlens.order.trend import PageTrend, page_trend
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document
from satlens.saturation.events import SaturationEvents


@dataclass(frozen=True)
class OrderReport:
    """When each rank is fixed, whether in order, and what the nulls say to it.

    Attributes:
        excess: ``excess[kind][statistic]`` for every null and every name in `STATISTICS`.
        null_mean_layer: per null, the mean layer of each rank over tokens and draws.
        verdict: None unless both path nulls were given.
        settings: draws, level, seed and margin that made the report.
    """

    events: SaturationEvents
    strict_tau: Estimate
    concordance: Concordance
    page: PageTrend
    paper: PaperTau
    survival: Survival
    coverage: Coverage
    flips: Flips | None
    excess: Mapping[str, Mapping[str, Excess]]
    null_mean_layer: Mapping[str, Sequence[float]]
    verdict: Verdict | None
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: keys "settings", "saturation", "order", "nulls", "verdicts".

        NaN is None; every interval is ``[low, high]`` under "ci" (None where there is none).
        """
        from satlens.order.tables import to_dict

        return to_dict(self)

    def to_frame(self):
        """A pandas frame, one row a number: section, name, rank, value, low, high, p."""
        from satlens.order.tables import to_frame

        return to_frame(self)


def report(
    events: SaturationEvents,
    nulls: Mapping[str, NullDraws] | None = None,
    *,
    untrained: SaturationEvents | Sequence[SaturationEvents] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
    margin: float = MARGIN,
) -> OrderReport:
    """Are the ranks fixed one after the other? Every statistic, beside every null.

    Args:
        events: what `satlens.detect` gives; with ``trajectory=True`` the report has flips as well.
        nulls: from `draw_nulls`; with "rotated" and "exchanged" among them there is a verdict. The
            null of permuted ranks is added here.
        untrained: events of the same inputs by untrained models, compared as one more null.
        margin: equivalence margin of the verdict (`satlens.order.excess`).

    Raises:
        InputError: no tokens, k below 2, nulls of other events, unusable settings.

    Example:
        >>> layer = [[0, 1, 2], [1, 2, 3], [0, 2, 3], [2, 1, 3]]
        >>> events = SaturationEvents(layer, [[7, 5, 6]] * 4, [0, 0, 1, 1], [0, 1, 0, 1], n_layers=4)
        >>> result = report(events, draws=100)
        >>> print(round(result.concordance.estimate.value, 3), result.verdict)
        0.917 None
    """
    check_ranks(events, "report")
    settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    every = {"permuted": permuted_draws(events, seed=seed), **(nulls or {})}
    _check_nulls(events, every)
    if untrained is not None:
        others = [untrained] if isinstance(untrained, SaturationEvents) else list(untrained)
        every["untrained"] = untrained_draws(events, others)
    has_verdict = all(kind in every for kind in PATH_NULLS)
    return OrderReport(
        events=events,
        strict_tau=_mean_tau(events, settings),
        concordance=concordance(events, **settings),
        page=page_trend(events),
        paper=paper_tau(events, seed=seed),
        survival=survival(events, **settings),
        coverage=coverage(events, **settings),
        flips=None if events.top is None else flips(events, **settings),
        excess={
            kind: {name: excess(null, statistic=name, **settings) for name in STATISTICS}
            for kind, null in every.items()
        },
        null_mean_layer={kind: null.layer.mean((0, 1)).tolist() for kind, null in every.items()},
        verdict=verdict(every, margin=margin, **settings) if has_verdict else None,
        settings={**settings, "margin": margin},
    )


def _check_nulls(events: SaturationEvents, nulls: Mapping[str, NullDraws]) -> None:
    """Nulls may be of fewer tokens than the events, but of the same model and ranks."""
    for kind, null in nulls.items():
        if (null.events.k, null.events.n_layers) != (events.k, events.n_layers):
            raise InputError(
                f"The null {kind!r} is of k={null.events.k} ranks and {null.events.n_layers} layers, the "
                f"events of k={events.k} and {events.n_layers}. Draw it with the model and k of the events."
            )


def _mean_tau(events: SaturationEvents, settings: Mapping[str, Any]) -> Estimate:
    """The mean strict tau of all tokens, with its interval over documents."""
    sums = by_document(np.column_stack([strict_tau(events), np.ones(len(events))]), events.doc)
    return bootstrap(sums, lambda s: s[..., :1] / s[..., 1:], **settings)[0]
