"""Does it help? Losses and top-1 accuracy on documents that nothing was fitted to.

    model         the model's own distribution
    temperature   the same at the inverse temperature b with the smallest loss
    ranks         `Reranker` on rank, probability and entropy, without saturation layers
    shuffled      `Reranker` with the saturation layers of other positions of like probability and entropy
    saturation    `Reranker`

Every fit is on the documents of the other parts, every number on the part itself, and every difference is
paired: both at the same positions, with the same documents drawn in each draw of the bootstrap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.reranking.adjusted import shuffle_within
from satlens.reranking.confounders import nested
from satlens.reranking.folds import FOLDS, document_folds
from satlens.reranking.reranker import FEATURES, SATURATION, Reranker
from satlens.reranking.temperature import fit_temperature, losses
from satlens.reranking.tokens import NextTokens
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document, finite

VARIANTS = ("model", "temperature", "ranks", "shuffled", "saturation")
AGAINST = ("ranks", "shuffled")
"""What the saturation layers must beat: everything but themselves."""
PAIRS = (
    ("temperature", "model"),
    ("ranks", "temperature"),
    ("saturation", "model"),
    ("saturation", "temperature"),
    ("saturation", "ranks"),
    ("saturation", "shuffled"),
)
"""Of what, against what."""
SHUFFLES = 3


@dataclass(frozen=True)
class Judged:
    """One variant on held-out documents.

    Attributes:
        loss: nats a token. accuracy: share of positions whose largest probability is the next token's.
        beta: inverse temperature, the mean over parts. parameters: numbers fitted.
    """

    loss: Estimate
    accuracy: Estimate
    beta: float
    parameters: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "loss": self.loss.to_dict(),
            "accuracy": self.accuracy.to_dict(),
            "beta": finite(self.beta),
            "parameters": self.parameters,
        }


@dataclass(frozen=True)
class Difference:
    """How much better one variant is than another: loss saved in nats a token, accuracy gained."""

    of: str
    against: str
    loss: Estimate
    accuracy: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "of": self.of,
            "against": self.against,
            "loss": self.loss.to_dict(),
            "accuracy": self.accuracy.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Reranked:
    """What `rerank` finds.

    Attributes:
        variants: by name, in the order of `VARIANTS`.
        differences: one of each of `PAIRS`.
        loss_saved, accuracy_gained: of saturation, against the stricter of `AGAINST`, found anew in each
            draw. strictest: which that is, for either.
        reranker: fitted on all positions. folds: parts of the documents. notes: what fits complained of.
    """

    variants: Mapping[str, Judged]
    differences: Sequence[Difference]
    loss_saved: Estimate
    accuracy_gained: Estimate
    strictest: Mapping[str, str]
    reranker: Reranker
    folds: int
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        one = self.reranker
        return {
            "folds": self.folds,
            "variants": {name: found.to_dict() for name, found in self.variants.items()},
            "differences": [found.to_dict() for found in self.differences],
            "strictest": dict(self.strictest),
            "weights": {
                "beta": one.beta_,
                "features": list(one.features_),
                "ranks": one.coef_.tolist(),
            },
        }


def rerank(
    tokens: NextTokens,
    *,
    folds: int = FOLDS,
    C: float = 1.0,
    shuffles: int = SHUFFLES,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> Reranked:
    """Judge the reranker and what it is held against, on held-out documents.

    Args:
        folds: parts of the documents. C: inverse penalty. shuffles: draws of "shuffled".
        draws, level: of the interval over documents.

    Raises:
        InputError: unusable settings, or fewer documents than folds.
    """
    fold = document_folds(tokens.doc, folds, seed)
    found = _out_of_fold(tokens, fold, C, shuffles, seed)
    # [n, variant, loss and hit]
    each = np.stack([np.stack([found[name].loss, found[name].hit], -1) for name in VARIANTS], 1)
    flat = np.concatenate([each.reshape(len(tokens), -1), np.ones((len(tokens), 1))], axis=1)
    made = bootstrap(by_document(flat, tokens.doc), _numbers, draws=draws, level=level, seed=seed)
    size = len(VARIANTS)
    variants = {
        name: Judged(made[i], made[size + i], found[name].beta, _parameters(name, tokens.k))
        for i, name in enumerate(VARIANTS)
    }
    start = 2 * size
    differences = [
        Difference(of, against, made[start + i], made[start + len(PAIRS) + i])
        for i, (of, against) in enumerate(PAIRS)
    ]
    start += 2 * len(PAIRS)
    strictest = {
        "loss": min(AGAINST, key=lambda name: variants[name].loss.value),
        "accuracy": max(AGAINST, key=lambda name: variants[name].accuracy.value),
    }
    reranker = Reranker(C=C).fit(tokens)
    notes = [note for one in found.values() for note in one.notes]
    return Reranked(
        variants, differences, made[start], made[start + 1], strictest, reranker, folds, notes
    )


def _numbers(sums: Float[ndarray, "... m"]) -> Float[ndarray, "... q"]:
    """Losses, accuracies, their paired differences, and the smallest over what is to be beaten."""
    mean = sums[..., :-1] / sums[..., -1:]
    loss, accuracy = mean[..., 0::2], mean[..., 1::2]
    place = {name: i for i, name in enumerate(VARIANTS)}
    of = [place[one] for one, _ in PAIRS]
    against = [place[other] for _, other in PAIRS]
    beaten = [place[name] for name in AGAINST]
    own = place["saturation"]
    return np.concatenate(
        [
            loss,
            accuracy,
            loss[..., against] - loss[..., of],
            accuracy[..., of] - accuracy[..., against],
            loss[..., beaten].min(-1, keepdims=True) - loss[..., own : own + 1],
            accuracy[..., own : own + 1] - accuracy[..., beaten].max(-1, keepdims=True),
        ],
        axis=-1,
    )


@dataclass(eq=False)
class _Held:
    """One variant at every position, by fits that had not seen its document."""

    loss: Float[ndarray, " n"]
    hit: Float[ndarray, " n"]
    beta: float
    notes: list[str]


def _out_of_fold(
    tokens: NextTokens, fold: Int[ndarray, " n"], C: float, shuffles: int, seed: int
) -> dict[str, _Held]:
    """Every variant; "shuffled" is the mean over draws."""
    right = tokens.right.astype(float)
    found = {"model": _Held(losses(tokens), right, 1.0, [])}
    scaled, betas = np.empty(len(tokens)), []
    for part in np.unique(fold):
        test = fold == part
        betas.append(fit_temperature(tokens[~test]))
        scaled[test] = losses(tokens[test], betas[-1])
    found["temperature"] = _Held(scaled, right, float(np.mean(betas)), [])
    found["ranks"] = _reranked(tokens, fold, Reranker(saturation=False, C=C), "ranks")
    found["saturation"] = _reranked(tokens, fold, Reranker(C=C), "saturation")
    rng = np.random.default_rng([seed, 3])
    stratum = nested([tokens.logp[:, 0].astype(np.float64), tokens.entropy], (10, 3))
    drawn = []
    for _ in range(shuffles):
        other = tokens.replace(layer=tokens.layer[shuffle_within(stratum, rng)])
        drawn.append(_reranked(other, fold, Reranker(C=C), "shuffled"))
    found["shuffled"] = _Held(
        np.mean([one.loss for one in drawn], axis=0),
        np.mean([one.hit for one in drawn], axis=0),
        float(np.mean([one.beta for one in drawn])),
        [note for one in drawn for note in one.notes],
    )
    return found


def _reranked(tokens: NextTokens, fold: Int[ndarray, " n"], reranker: Reranker, name: str) -> _Held:
    loss, hit = np.empty(len(tokens)), np.empty(len(tokens))
    betas, notes = [], []
    for part in np.unique(fold).tolist():
        test = fold == part
        reranker.fit(tokens[~test])
        loss[test], hit[test] = reranker.losses(tokens[test]), reranker.hits(tokens[test])
        betas.append(reranker.beta_)
        notes += [f"{name}, part {part + 1}: {note}" for note in reranker.notes_]
    return _Held(loss, hit, float(np.mean(betas)), notes)


def _parameters(name: str, k: int) -> int:
    """Numbers fitted: b, and the weights of each rank."""
    weights = {"ranks": len(FEATURES)}.get(name, len(FEATURES) + len(SATURATION))
    return {"model": 0, "temperature": 1}.get(name, 1 + k * weights)
