"""The statistics of a survey, from its shards one at a time.

    mean layer[i]  = sum_l l H[i, l] / n        censored[i] = H[i, L-1] / n      (n tokens, H: `sums.py`)
    survival[i, l] = 1 - sum_{m <= l} H[i, m] / n,    flat from L-2 on, where all censoring is
    excess         = g(real layers) - mean over draws of g(null layers),    g the concordance

Memory: one shard, and draws x m sums. Intervals: `satlens.survey.poisson`. The values are those of
`satlens.order` on all events at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.nulls.block import PATH_NULLS
from satlens.order.concordance import concordance_of
from satlens.order.excess import MARGIN, STATISTICS, Excess, Verdict, judge
from satlens.order.permutation import permuted_ascents
from satlens.order.tau import PAPER_NOTE, kept_ranks
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, by_document, finite
from satlens.significance import permutation_p
from satlens.survey.nulls import REAL
from satlens.survey.poisson import PoissonBootstrap
from satlens.survey.sums import Layout, document_sums
from satlens.verdicts import UNKNOWN

PAPER_DRAWS = 1000


@dataclass(frozen=True)
class PaperTau:
    """The published statistic on the whole survey, with what it lacks: an interval over documents."""

    tau: Estimate
    p: float
    kept: int
    draws: int = PAPER_DRAWS
    note: str = PAPER_NOTE


@dataclass(frozen=True)
class SurveyStatistics:
    """When the ranks are fixed, whether in order, and what the nulls say to it.

    Attributes:
        tokens, documents: with any token read.
        mean_layer, censored: ``[k]``; censored tokens count as L - 1.
        survival: ``[k, L]`` share of tokens not yet fixed after layer l.
        strict_tau, concordance, comparable, paper: None at k = 1.
        excess: per path null, of the concordance, on the tokens that it was drawn for.
        verdict: against the stricter path null; None where not both were drawn.
        settings: draws, level, seed and margin.
    """

    tokens: int
    documents: int
    n_layers: int
    mean_layer: Intervals
    censored: Intervals
    survival: Intervals
    strict_tau: Estimate | None
    concordance: Estimate | None
    comparable: Estimate | None
    paper: PaperTau | None
    excess: Mapping[str, Excess]
    verdict: Verdict | None
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: what is not known is None, an interval is "ci"."""
        k = len(self.mean_layer.value)
        ranks = [
            {
                "rank": i + 1,
                "mean_layer": self.mean_layer[i].to_dict(),
                "censored": self.censored[i].to_dict(),
                "survival": [self.survival[i, l].to_dict() for l in range(self.n_layers)],  # noqa: E741
            }
            for i in range(k)
        ]
        order = None
        if self.paper is not None:
            order = {
                name: getattr(self, name).to_dict()
                for name in ("concordance", "comparable", "strict_tau")
            }
            paper = {"p": finite(self.paper.p), "kept": self.paper.kept, "note": self.paper.note}
            order["paper_tau"] = self.paper.tau.to_dict() | paper
        nulls = {kind: _null(one) for kind, one in self.excess.items()}
        verdict = None
        if self.verdict is not None:
            verdict = asdict(self.verdict)
            kind = self.verdict.excess.kind if self.verdict.excess is not None else None
            verdict["excess"] = kind
        return {
            "tokens": self.tokens, "documents": self.documents, "n_layers": self.n_layers,
            "ranks": ranks, "order": order, "nulls": nulls, "verdict": verdict,
            "settings": dict(self.settings),
        }  # fmt: skip


def _null(one: Excess) -> dict[str, Any]:
    return {
        "tokens": one.tokens,
        "real": finite(one.real),
        "null": finite(float(np.mean(one.draws))),
        "draws": len(one.draws),
        "excess": one.estimate.to_dict(),
    }


class Statistics:
    """Takes shards in any order, each once; `finish` gives the statistics."""

    def __init__(
        self,
        k: int,
        n_layers: int,
        *,
        draws: int = DRAWS,
        level: float = LEVEL,
        seed: int = DEFAULT_SEED,
        margin: float = MARGIN,
    ) -> None:
        self.layout, self.margin = Layout(k, n_layers), margin
        self.settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
        self.main = PoissonBootstrap(**self.settings)
        self.nulls: dict[str, PoissonBootstrap] = {}
        self.null_tokens: dict[str, int] = {}
        self._shuffled = np.zeros(PAPER_DRAWS)

    def update(
        self, layer: Int[ndarray, "token k"], doc: Int[ndarray, " token"], shard: int
    ) -> None:
        """Take the events of one shard, in order of document."""
        for numbers, sums in document_sums(layer, doc, self.layout):
            self.main.update(numbers, sums)
        if self.layout.k > 1:
            m = kept_ranks(layer, self.layout.n_layers)
            self._shuffled += permuted_ascents(
                layer[m > 0], m[m > 0], lambda m: 2 / (m * (m - 1)), draws=PAPER_DRAWS,
                seed=int(np.random.SeedSequence([self.settings["seed"], shard]).generate_state(1)[0]),
            )  # fmt: skip

    def update_null(
        self,
        kind: str,
        real: Int[ndarray, "token k"],
        drawn: Int[ndarray, "draw token k"],
        doc: Int[ndarray, " token"],
    ) -> None:
        """Take one null of one shard, with the real layers of its tokens."""
        g, n_layers = STATISTICS["concordance"], self.layout.n_layers
        sums = np.concatenate(
            [by_document(g.per_token(one, n_layers), doc) for one in (real, *drawn)], axis=1
        )
        online = self.nulls.setdefault(kind, PoissonBootstrap(**self.settings))
        online.update(np.unique(doc), sums)
        self.null_tokens[kind] = self.null_tokens.get(kind, 0) + len(doc)

    def finish(self) -> SurveyStatistics:
        """The statistics of everything taken.

        Raises:
            InputError: no token was taken.
        """
        total = self.main.total
        if total is None:
            raise InputError("The survey has no token: nothing can be said of it.")
        layout, main = self.layout, self.main
        layers = np.arange(layout.n_layers)
        order: dict[str, Any] = dict.fromkeys(("strict_tau", "concordance", "comparable"))
        paper = None
        if layout.k > 1:
            for name in order:
                order[name] = main.intervals(
                    lambda s, name=name: STATISTICS[name].of_sums(layout.part(s, name))[..., None]
                )[0]
            paper = self._paper()
        excess = {kind: self._excess(kind) for kind in PATH_NULLS if kind in self.nulls}
        return SurveyStatistics(
            int(layout.part(total, "tokens")[0]), main.documents, layout.n_layers,
            main.intervals(lambda s: layout.shares(s) @ layers),
            main.intervals(lambda s: layout.shares(s)[..., -1]),
            main.intervals(lambda s: survival_of(layout.shares(s))),
            **order, paper=paper, excess=excess, verdict=self._verdict(excess),
            settings={**self.settings, "margin": self.margin},
        )  # fmt: skip

    def _paper(self) -> PaperTau:
        part = self.layout.part

        def tau(s: Float[ndarray, "... m"]) -> Float[ndarray, "... 1"]:
            s = part(s, "paper")
            return 2 * s[..., :1] / s[..., 1:] - 1

        share, kept = part(cast(ndarray, self.main.total), "paper")
        p = permutation_p(share / kept, self._shuffled / kept, "greater") if kept else np.nan
        return PaperTau(self.main.intervals(tau)[0], p, int(kept))

    def _excess(self, kind: str) -> Excess:
        online = self.nulls[kind]

        def values(s: Float[ndarray, "... m"]) -> Float[ndarray, "... one_and_draws"]:
            return concordance_of(s.reshape(*s.shape[:-1], -1, 3))

        def difference(s: Float[ndarray, "... m"]) -> Float[ndarray, "... 1"]:
            found = values(s)
            return found[..., :1] - found[..., 1:].mean(-1, keepdims=True)

        found = values(cast(ndarray, online.total))
        estimate = online.intervals(difference)[0]
        tokens = self.null_tokens[kind]
        return Excess(kind, "concordance", float(found[0]), found[1:], estimate, tokens)

    def _verdict(self, excess: Mapping[str, Excess]) -> Verdict | None:
        if len(excess) < len(PATH_NULLS):
            return None
        if any(np.isnan(one.estimate.value) for one in excess.values()):
            return Verdict(UNKNOWN, None, self.margin, "No pair of ranks can be compared.")
        return judge(min(excess.values(), key=lambda one: one.estimate.value), self.margin)


def survival_of(shares: Float[ndarray, "... k layer"]) -> Float[ndarray, "... k layer"]:
    """Kaplan-Meier curves where all censoring is at the last layer (see `satlens.order.survival`)."""
    known = 1 - shares[..., :-1].cumsum(-1)
    last = known[..., -1:] if known.shape[-1] else np.ones_like(shares)
    return np.concatenate([known, last], axis=-1)


def null_rows(
    null: Iterable[str], layer: Int[ndarray, "row k"]
) -> dict[str, Int[ndarray, "draw token k"]]:
    """The layers of a shard's nulls by kind, draw by draw; "real" has one."""
    names = np.asarray(null)
    tokens = int((names == REAL).sum())
    return {
        kind: layer[names == kind].reshape(-1, tokens, layer.shape[1])
        for kind in (REAL, *PATH_NULLS)
        if (names == kind).any()
    }
