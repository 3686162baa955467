"""Are the ranks fixed one after the other? The published statistic, sound ones, and nulls."""

from satlens.nulls import (
    NullDraws,
    NullSampler,
    draw_nulls,
    permute_ranks,
    permuted_draws,
    untrained_draws,
)
from satlens.order.concordance import Concordance, concordance
from satlens.order.excess import Excess, Verdict, excess, verdict
from satlens.order.summary import OrderReport, report
from satlens.order.survival import Coverage, Flips, Survival, coverage, flips, survival
from satlens.order.tau import PaperTau, paper_tau, strict_tau
from satlens.order.trend import PageTrend, page_trend
from satlens.resampling import Estimate, Intervals
from satlens.significance import Test

__all__ = [
    "Concordance",
    "Coverage",
    "Estimate",
    "Excess",
    "Flips",
    "Intervals",
    "NullDraws",
    "NullSampler",
    "OrderReport",
    "PageTrend",
    "PaperTau",
    "Survival",
    "Test",
    "Verdict",
    "concordance",
    "coverage",
    "draw_nulls",
    "excess",
    "flips",
    "page_trend",
    "paper_tau",
    "permute_ranks",
    "permuted_draws",
    "report",
    "strict_tau",
    "survival",
    "untrained_draws",
    "verdict",
]
