"""Right more often when fixed early, given all that the final output says? Partialling out.

At positions where top-1 is wrong, for one rank: Y = 1 where it is the next token, E = lead / (L - 1) from 0
(fixed only at the last layer) to 1 (from the first on), X what the final output says
(`satlens.reranking.confounders`),

    u = Y - m(X),    m: logistic regression of Y on the basis of X         both fitted on the
    v = E - e(X),    e: ridge regression of E on the basis of X            documents of the other parts

    gain    sum u v / sqrt(n sum v^2)     share right per standard deviation of E that X leaves open
    slope   sum u v / sum v^2             share right per whole depth

If E says nothing beyond X, u and v have product 0 on average, and errors of m and e enter only by their
product (Robinson 1988; Chernozhukov et al. 2018). Documents are the units of the intervals and of the test,
which gives a random sign to each document's sum of u v. Every "how early" enters: no threshold is chosen.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from satlens.conventions import DEFAULT_SEED
from satlens.reranking.confounders import basis, features, strata
from satlens.reranking.tokens import NextTokens
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document, finite
from satlens.significance import permutation_p, sign_flip

C, RIDGE = 1.0, 1.0
MIN_RIGHT = 10
"""A rank that is right less often than this in some training part is not judged."""
SHUFFLES = 999
_CHUNK = 2**22
UV, VV, ONE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Partial:
    """One rank at some positions, with what the final output says of its being right taken off.

    Attributes:
        u: ``[n]`` Y - m(X). lead: ``[n]`` E. basis: ``[n, c]``. fold, doc, stratum: ``[n]``.
        notes: what the solver complained of.
    """

    u: Float[ndarray, " n"]
    lead: Float[ndarray, " n"]
    basis: Float[ndarray, "n c"]
    fold: Int[ndarray, " n"]
    doc: Int[ndarray, " n"]
    stratum: Int[ndarray, " n"]
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(tokens: NextTokens, rank: int, fold: Int[ndarray, " n"]) -> "Partial":
        """From positions where top-1 is wrong; needs `enough` of them."""
        x = basis(features(tokens, rank))
        u, notes = out_of_fold_residual(x, tokens.token[:, rank - 1] == tokens.next, fold)
        lead = tokens.lead[:, rank - 1] / (tokens.n_layers - 1)
        return Partial(u, lead, x, fold, tokens.doc, strata(tokens, rank), notes)

    def rows(self, keep: Any) -> "Partial":
        """Some positions; their u as fitted on all."""
        columns = ("u", "lead", "basis", "fold", "doc", "stratum")
        return Partial(*(getattr(self, name)[keep] for name in columns), notes=self.notes)

    def left(self, lead: Float[ndarray, "draw n"]) -> Float[ndarray, "draw n"]:
        """``v`` of each draw: what X leaves open of E, by ridge regression on the other parts."""
        v = np.empty_like(lead)
        for part in np.unique(self.fold):
            test, train = self.fold == part, self.fold != part
            if not train.any():  # a null of few documents: they are all of one part
                train = test
            centre = self.basis[train].mean(0)
            x = self.basis[train] - centre
            mean = lead[:, train].mean(1, keepdims=True)
            gram = x.T @ x + RIDGE * np.eye(x.shape[1])
            coef = np.linalg.solve(gram, x.T @ (lead[:, train] - mean).T)
            v[:, test] = lead[:, test] - mean - ((self.basis[test] - centre) @ coef).T
        return v

    def sums(self, lead: Float[ndarray, "draw n"]) -> Float[ndarray, "doc draw 3"]:
        """``sum u v, sum v^2, n`` of each document, in ascending order, and draw."""
        v = self.left(lead)
        stacked = np.stack([self.u * v, v**2, np.ones_like(v)], axis=-1)
        return np.moveaxis(by_document(stacked, self.doc), 0, 1)

    def shuffled(self, rng: np.random.Generator, draws: int) -> Float[ndarray, "draw n"]:
        """E shuffled among positions of one stratum: it still goes with the final output, and no further."""
        return np.stack([self.lead[shuffle_within(self.stratum, rng)] for _ in range(draws)])


@dataclass(frozen=True)
class Adjusted:
    """What an early rank says of being right beyond the final output.

    Attributes:
        gain: share right per standard deviation of E that the final output leaves open. slope: per depth.
        spread: that standard deviation, in layers.
        p: one-sided, signs of documents. p_shuffled: one-sided, E shuffled within strata of the final
            output; takes positions as independent there.
        draws: shuffles. note: why there is no number.
    """

    gain: Estimate
    slope: Estimate
    spread: float
    p: float
    p_shuffled: float
    draws: int = 0
    note: str = ""

    @staticmethod
    def unavailable(note: str) -> "Adjusted":
        """No numbers, and why."""
        none = Estimate(np.nan, np.nan, np.nan, note=note)
        return Adjusted(none, none, np.nan, np.nan, np.nan, note=note)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: gain, slope, spread, p, p_shuffled, shuffles."""
        return {
            "gain": self.gain.to_dict(),
            "slope": self.slope.to_dict(),
            "spread": finite(self.spread),
            "p": finite(self.p),
            "p_shuffled": finite(self.p_shuffled),
            "shuffles": self.draws,
        }


def adjusted(
    partial: Partial,
    n_layers: int,
    *,
    shuffles: int = SHUFFLES,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Adjusted:
    """The gain, the slope and their tests."""
    sums = partial.sums(partial.lead[None])[:, 0]
    made = bootstrap(
        sums,
        lambda s: np.stack([gain_of(s), slope_of(s)], axis=-1),
        draws=draws,
        level=level,
        seed=seed,
    )
    drawn = shuffled_gains(partial, shuffles, seed)
    observed, total = float(made.value[0]), sums.sum(0)
    return Adjusted(
        gain=made[0],
        slope=made[1],
        spread=float(np.sqrt(total[VV] / total[ONE]) * (n_layers - 1)),
        p=sign_flip(sums[:, UV], draws=draws, seed=seed).p,
        p_shuffled=permutation_p(observed, drawn, "greater") if np.isfinite(observed) else np.nan,
        draws=shuffles,
    )


def shuffled_gains(partial: Partial, shuffles: int, seed: int) -> Float[ndarray, " draw"]:
    """The gain when E is shuffled within strata, e fitted anew to each draw."""
    rng = np.random.default_rng([seed, 1])
    step = max(1, _CHUNK // len(partial.u))
    parts = []
    for first in range(0, shuffles, step):
        lead = partial.shuffled(rng, min(step, shuffles - first))
        parts.append(gain_of(partial.sums(lead).sum(0)))
    return np.concatenate(parts)


def gain_of(sums: Float[ndarray, "... 3"]) -> Float[ndarray, "..."]:
    """``sum u v / sqrt(n sum v^2)``; NaN where the final output leaves nothing of E open."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., UV] / np.sqrt(sums[..., ONE] * _open(sums)))


def slope_of(sums: Float[ndarray, "... 3"]) -> Float[ndarray, "..."]:
    """``sum u v / sum v^2``; NaN likewise."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., UV] / _open(sums))


def _open(sums: Float[ndarray, "... 3"]) -> Float[ndarray, "..."]:
    """``sum v^2``, NaN where it is no more than rounding."""
    return np.where(sums[..., VV] > 1e-12 * np.maximum(sums[..., ONE], 1), sums[..., VV], np.nan)


def out_of_fold_residual(
    x: Float[ndarray, "n c"], right: Bool[ndarray, " n"], fold: Int[ndarray, " n"]
) -> tuple[Float[ndarray, " n"], tuple[str, ...]]:
    """Y - m(X), m fitted on the other parts."""
    u, notes = np.empty(len(right)), []
    for part in np.unique(fold).tolist():
        test = fold == part
        model = LogisticRegression(C=C, max_iter=500)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(x[~test], right[~test])
        if caught:
            notes.append(f"part {part + 1}: the logistic regression stopped at 500 steps")
        u[test] = right[test] - model.predict_proba(x[test])[:, 1]
    return u, tuple(notes)


def enough(tokens: NextTokens, rank: int, fold: Int[ndarray, " n"]) -> str:
    """Why a rank cannot be judged at these positions; empty where it can."""
    right = tokens.token[:, rank - 1] == tokens.next
    for part in np.unique(fold):
        there = right[fold != part]
        least = min(int(there.sum()), int((~there).sum()))
        if least < MIN_RIGHT:
            return (
                f"no interval: rank {rank} is the next token at {int(right.sum())} of {len(right)} "
                f"positions where top-1 is wrong; each training part needs {MIN_RIGHT} of either kind"
            )
    return ""


def shuffle_within(stratum: Int[ndarray, " n"], rng: np.random.Generator) -> Int[ndarray, " n"]:
    """Row numbers, shuffled among the rows of one stratum.

    >>> shuffle_within(np.array([1, 0, 1, 0]), np.random.default_rng(0)).tolist()
    [2, 3, 0, 1]
    """
    place = np.argsort(stratum, kind="stable")
    drawn = np.lexsort((rng.random(len(stratum)), stratum))
    index = np.empty(len(stratum), np.int64)
    index[place] = drawn
    return index
