"""Better language modelling from saturation layers? `report`: the claim, its nulls, the reranker, verdicts.

    claim      gain of rank 2 (`satlens.reranking.adjusted`) over layers shuffled within strata of the final
               output, and over the stricter of the other nulls, found anew in every draw over documents
    use        loss saved and accuracy gained on held-out documents: saturation layers against the same
               reranker without them, or with those of other positions, whichever is better in that draw

by the rule of `satlens.verdicts`. Rank 2 and the margins were chosen before anything was looked at; the other
ranks and all gaps stand beside it. The published test has a verdict of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import Batches, wrap
from satlens.nulls.draws import NULL_DRAWS
from satlens.reranking.adjusted import SHUFFLES
from satlens.reranking.collect import NULL_TOKENS, Collected, check_model, collect
from satlens.reranking.comparison import Reranked, rerank
from satlens.reranking.early import EarlyRank, early_ranks
from satlens.reranking.folds import FOLDS
from satlens.reranking.nulls import NullGains, null_gains
from satlens.reranking.tokens import NextTokens
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document
from satlens.verdicts import AS_PUBLISHED, FAILS, HOLDS, UNKNOWN, judged

MARGIN = 0.01
"""Of the gain: 1 of 100 positions for each standard deviation of how early."""
LOSS_MARGIN = 0.005
"""In nats a token: half a per cent of the perplexity."""
ACCURACY_MARGIN = 0.002
"""2 of 1,000 tokens."""
PRIMARY = 2
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class RerankingReport:
    """The claim, what it is held against, and what it is good for.

    Attributes:
        tokens: every position that has a next token.
        accuracy: share of them whose top-1 is the next token. loss: nats a token.
        early: one entry a rank, from 2 on. nulls: of rank 2.
        reranked: the reranker on held-out documents.
    """

    tokens: NextTokens = field(repr=False)
    accuracy: Estimate
    loss: Estimate
    early: Sequence[EarlyRank]
    nulls: NullGains
    reranked: Reranked
    verdicts: Sequence[dict[str, Any]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: positions, early, nulls, reranker, verdicts, settings, notes."""
        return {
            "positions": {
                "positions": len(self.tokens),
                "documents": len(np.unique(self.tokens.doc)),
                "wrong": int((~self.tokens.right).sum()),
                "accuracy": self.accuracy.to_dict(),
                "loss": self.loss.to_dict(),
            },
            "early": [one.to_dict() for one in self.early],
            "nulls": self.nulls.to_dict(),
            "reranker": self.reranked.to_dict(),
            "verdicts": [dict(one) for one in self.verdicts],
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }


def report(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    gap: int | None = None,
    folds: int = FOLDS,
    draws: int = NULL_DRAWS,
    null_tokens: int = NULL_TOKENS,
    untrained_seeds: int = 1,
    shuffles: int = SHUFFLES,
    C: float = 1.0,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> RerankingReport:
    """Where top-1 is wrong, is an early rank 2 more often right, and does knowing it make a better model?

    One pass over the inputs with the model, one with each untrained model; only a few numbers of each
    position are kept.

    Args:
        model, inputs, k, batch_size, progress: as in `satlens.detect`; inputs may be `Batches`.
        gap: of the published test (see `early_ranks`).
        folds: parts of the documents; what is fitted never sees the part it is judged on.
        draws: of every null.
        null_tokens: path nulls are drawn for the first documents, up to this many tokens.
        untrained_seeds: how many untrained models are read.
        shuffles: draws of the test that shuffles layers.
        C: inverse penalty of the reranker.

    Raises:
        InputError: unusable settings or inputs, or too few documents or wrong positions.
        ModelError: a model that does not predict the next token.

    Source: Lioubashevski et al. 2025 (language modelling) for the claim; the rest is ours.

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> texts = list(read_corpus("bundled").documents)[:6]
        >>> found = satlens.reranking.report(
        ...     satlens.load_model("tiny"), texts, k=2, draws=2, untrained_seeds=0, shuffles=99
        ... )
        >>> [one["id"] for one in found.verdicts][:2]
        ['early_rank_right', 'early_rank_right_beyond_converging']
    """
    _check(k, folds, draws, null_tokens, untrained_seeds, shuffles, C)
    model = wrap(model)
    check_model(model, k)
    if gap is not None and not 1 <= gap <= model.n_layers - 1:
        raise InputError(
            f"gap must be 1 .. {model.n_layers - 1} layers before the end, got {gap}: {model.name} has "
            f"{model.n_layers} layers."
        )
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    _check_documents(getattr(batches, "n_documents", None), folds)
    collected = collect(
        model, batches, k=k, draws=draws, null_tokens=null_tokens, untrained_seeds=untrained_seeds,
        seed=seed, progress=progress,
    )  # fmt: skip
    return evaluate(
        collected, gap=gap, folds=folds, draws=draws, shuffles=shuffles, C=C, seed=seed,
        settings={
            "model": model.name, "k": k, "null_tokens": null_tokens, "untrained_seeds": untrained_seeds,
        },
    )  # fmt: skip


def evaluate(
    collected: Collected,
    *,
    gap: int | None = None,
    folds: int = FOLDS,
    draws: int = NULL_DRAWS,
    shuffles: int = SHUFFLES,
    C: float = 1.0,
    seed: int = DEFAULT_SEED,
    settings: Mapping[str, Any] | None = None,
) -> RerankingReport:
    """`report` from one pass at hand (see `satlens.reranking.collect`)."""
    tokens = collected.tokens
    early = early_ranks(tokens, gap=gap, folds=folds, shuffles=shuffles, seed=seed)
    first = early[0]
    if first.partial is None:
        nulls = NullGains.unavailable(first.adjusted.note)
    else:
        nulls = null_gains(
            first.partial, tokens[~tokens.right], collected.nulls, shuffles=draws, seed=seed
        )
    reranked = rerank(tokens, folds=folds, C=C, seed=seed)
    columns = np.column_stack([tokens.right, -tokens.next_logp, np.ones(len(tokens))])
    means = bootstrap(
        by_document(columns, tokens.doc), lambda s: s[..., :2] / s[..., 2:], seed=seed
    )
    notes = [f"{kind}: not available. {why}" for kind, why in collected.missing.items()]
    notes += nulls.notes
    for one in early:
        notes += [f"rank {one.rank}: {one.adjusted.note}"] if one.adjusted.note else []
        notes += [f"rank {one.rank}, {note}" for note in (one.partial.notes if one.partial else ())]
    return RerankingReport(
        tokens=tokens, accuracy=means[0], loss=means[1], early=early, nulls=nulls, reranked=reranked,
        verdicts=verdicts(first, nulls, reranked),
        settings={
            **(settings or {}), "gap": first.published.gap, "folds": folds, "draws": draws,
            "shuffles": shuffles, "C": C, "seed": seed, "margin": MARGIN, "loss_margin": LOSS_MARGIN,
            "accuracy_margin": ACCURACY_MARGIN, "bootstrap_draws": DRAWS, "level": LEVEL,
        },
        notes=[*notes, *reranked.notes],
    )  # fmt: skip


def verdicts(first: EarlyRank, nulls: NullGains, reranked: Reranked) -> list[dict[str, Any]]:
    """On the claim, beyond converging, as published, and on the reranker's loss and accuracy."""
    main = judged(
        "early_rank_right",
        "Where top-1 is wrong, rank 2 is right more often when it was fixed early, given what the final "
        "output says.",
        ("gain of rank 2 over shuffled layers", nulls.shuffled), MARGIN, "shuffled", first.adjusted.p,
    )  # fmt: skip
    beyond = judged(
        "early_rank_right_beyond_converging",
        "An early rank 2 is right more often, beyond what any path into the same final state, or an "
        "untrained model, gives.",
        ("gain of rank 2 over the strictest null", nulls.beyond), MARGIN, nulls.strictest or None,
    )  # fmt: skip
    if not any(len(nulls.kinds[kind].values) for kind in ("rotated", "exchanged")):
        beyond |= {
            "verdict": UNKNOWN,
            "p": None,
            "why": "No path null could be drawn, so nothing says what converging gives.",
        }
    loss = judged(
        "reranking_lowers_loss",
        "The saturation layers lower the loss on held-out documents, beyond rank and probability.",
        ("loss saved, nats a token", reranked.loss_saved), LOSS_MARGIN, reranked.strictest["loss"],
    )  # fmt: skip
    accuracy = judged(
        "reranking_raises_accuracy",
        "The saturation layers raise the top-1 accuracy on held-out documents, beyond rank and "
        "probability.",
        ("accuracy gained", reranked.accuracy_gained), ACCURACY_MARGIN,
        reranked.strictest["accuracy"],
    )  # fmt: skip
    return [main, beyond, _as_published(first, main["verdict"]), loss, accuracy]


def _as_published(first: EarlyRank, main: str) -> dict[str, Any]:
    """The two-proportion test: early by the published gap against fixed only at the last layer."""
    found, gap = first.published, first.published.gap
    layers = f"{gap} layer{'' if gap == 1 else 's'}"
    estimate = first.sweep.difference[gap - 1]
    if np.isnan(found.p):
        word, why = UNKNOWN, f"No rank 2 is fixed {layers} before the end, or none only at it."
    elif found.p >= ALPHA or found.z < 0:
        word, why = FAILS, "The published test does not reject in this direction."
    elif main == HOLDS:
        word, why = (
            HOLDS,
            "The published test rejects, and the effect is there given the final output.",
        )
    else:
        word = AS_PUBLISHED
        why = "The published test rejects, but an early rank 2 is also a likelier one: see the first claim."
    return {
        "id": "early_rank_right_as_published",
        "statement": f"Where top-1 is wrong, rank 2 is right more often when fixed {layers} or more "
        "before the end than when fixed only at the last (two-proportion test).",
        "verdict": word,
        "effect": {"name": "difference of the two shares", **estimate.to_dict()},
        "p": float(found.p) if np.isfinite(found.p) else None,
        "why": why,
        "null": None,
    }


def _check(
    k: int, folds: int, draws: int, null_tokens: int, untrained_seeds: int, shuffles: int, C: float
) -> None:
    """Everything cheap is refused before a forward pass is paid for."""
    least = {"k": (k, 2), "folds": (folds, 2), "draws": (draws, 1), "null_tokens": (null_tokens, 0),
             "untrained_seeds": (untrained_seeds, 0), "shuffles": (shuffles, 1)}  # fmt: skip
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name} must be a whole number of at least {low}, got {value!r}.")
    if not C > 0:
        raise InputError(f"C must be above 0, got {C}.")


def _check_documents(documents: int | None, folds: int) -> None:
    if documents is not None and documents < folds:
        raise InputError(
            f"{folds} folds need at least {folds} documents, since no document is on both sides; the "
            f"inputs are {documents}. Give more documents, or lower folds."
        )
