"""Is an early rank right more often? `early_ranks`: as published, at every gap, matched, and adjusted.

Only positions count where the model's top-1 is not the next token; rank i is right where it is that token.
`satlens.reranking.proportions` has the differences, `satlens.reranking.adjusted` what is left of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.reranking.adjusted import SHUFFLES, Adjusted, Partial, adjusted, enough
from satlens.reranking.confounders import expected, strata
from satlens.reranking.folds import FOLDS, document_folds
from satlens.reranking.proportions import (
    ByLead,
    Sweep,
    TwoProportions,
    by_lead,
    cell_sums,
    paper_gap,
    sweep,
)
from satlens.reranking.tokens import NextTokens
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document


@dataclass(frozen=True, eq=False)
class EarlyRank:
    """One rank, at the positions where top-1 is wrong.

    Attributes:
        rank: 2 or more. positions: how many.
        right: share of them at which this rank is the next token. expected: that share by the model's own
            probability. last: share at which this rank is fixed only at the last layer.
        published: the two-proportion test at the published gap.
        sweep: the differences at every gap. by_lead: the shares at every lead.
        adjusted: what is left beyond the final output; the primary number.
        partial: the numbers behind it, None where there are too few right ones.
    """

    rank: int
    positions: int
    right: Estimate
    expected: Estimate
    last: Estimate
    published: TwoProportions
    sweep: Sweep
    by_lead: ByLead
    adjusted: Adjusted
    partial: Partial | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rank": self.rank,
            "positions": self.positions,
            "right": self.right.to_dict(),
            "expected": self.expected.to_dict(),
            "last": self.last.to_dict(),
            "published": self.published.to_dict(),
            "adjusted": self.adjusted.to_dict(),
            "sweep": self.sweep.to_dict(),
            "by_lead": self.by_lead.to_dict(),
        }


def early_ranks(
    tokens: NextTokens,
    *,
    ranks: Sequence[int] | None = None,
    gap: int | None = None,
    folds: int = FOLDS,
    shuffles: int = SHUFFLES,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> list[EarlyRank]:
    """For each rank from 2 on: is it right more often when it was fixed early?

    Args:
        tokens: as `next_tokens` gives them; positions where top-1 is right are left out.
        ranks: all of 2 .. k if nothing is said.
        gap: layers before the end that the published test calls early; None: 7, or 7 / 48 of the layers of
            a model that has no more than 7.
        folds: parts of the documents for what is fitted.
        shuffles: draws of the test that shuffles layers.
        draws, level: of the intervals over documents.

    Raises:
        InputError: k below 2, unusable settings, fewer documents than folds, or no wrong top-1.

    Source: Lioubashevski et al. 2025 (language modelling) for the published test; the rest is ours.

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> texts = list(read_corpus("bundled").documents)[:6]
        >>> tokens = satlens.reranking.next_tokens(satlens.load_model("tiny"), texts, k=3)
        >>> [found.rank for found in early_ranks(tokens, shuffles=99)]
        [2, 3]
    """
    chosen = range(2, tokens.k + 1) if ranks is None else ranks
    gap = paper_gap(tokens.n_layers) if gap is None else gap
    _check(tokens, chosen, gap)
    wrong = tokens[~tokens.right]
    fold = document_folds(wrong.doc, folds, seed)
    how: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    return [_one(wrong, rank, gap, fold, shuffles, how) for rank in chosen]


def _one(
    wrong: NextTokens,
    rank: int,
    gap: int,
    fold: Int[ndarray, " n"],
    shuffles: int,
    how: dict[str, Any],
) -> EarlyRank:
    right = wrong.token[:, rank - 1] == wrong.next
    lead, said = wrong.lead[:, rank - 1], expected(wrong, rank)
    sums = cell_sums(wrong.doc, strata(wrong, rank), lead, right, said, wrong.n_layers)
    columns = np.column_stack([right, said, lead == 0, np.ones(len(wrong))])
    shares = bootstrap(by_document(columns, wrong.doc), lambda s: s[..., :3] / s[..., 3:], **how)
    lacking = enough(wrong, rank, fold)
    partial = None if lacking else Partial.of(wrong, rank, fold)
    return EarlyRank(
        rank=rank,
        positions=len(wrong),
        right=shares[0],
        expected=shares[1],
        last=shares[2],
        published=TwoProportions.of(lead, right, gap),
        sweep=sweep(sums, **how),
        by_lead=by_lead(sums, **how),
        adjusted=(
            Adjusted.unavailable(lacking)
            if partial is None
            else adjusted(partial, wrong.n_layers, shuffles=shuffles, **how)
        ),
        partial=partial,
    )


def _check(tokens: NextTokens, ranks: Sequence[int], gap: int) -> None:
    """Everything cheap is refused before anything is fitted."""
    if tokens.k < 2:
        raise InputError("early_ranks needs k of 2 or more: rank 1 is wrong wherever it looks.")
    wrong = [rank for rank in ranks if not 2 <= rank <= tokens.k]
    if wrong or not len(ranks):
        raise InputError(f"ranks must be some of 2 .. {tokens.k}, got {list(ranks)}.")
    if not 1 <= gap <= tokens.n_layers - 1:
        raise InputError(
            f"gap must be 1 .. {tokens.n_layers - 1} layers before the end, got {gap}: the model has "
            f"{tokens.n_layers} layers."
        )
    if tokens.right.all():
        raise InputError(
            f"Top-1 is the next token at all of {len(tokens)} positions: there is no wrong one to look "
            "behind. Give more, or other, text."
        )
