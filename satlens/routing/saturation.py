"""Does the router skip where saturation says the answer is fixed? Nobody says so: it is to be measured.

For every token, with hard gates, and with the same weights and every token in every block ("open"):

    x   mean over routers of p, in the gated run            how much the token is told to skip
    y   L - 1 - s, s the saturation layer of rank 1, open    blocks that come after its answer is fixed
    z   log frequency of the token that is read, loss of the next one, position        confounders

all as ranks. The correlation of x and y is Spearman's; the partial one is that of what a regression on z and
z^2 leaves of both. s is taken in the open run, because a skipped block cannot change an answer: in the gated
run skipping would make early saturation by itself. The nulls are other ways into each token's own final state
(`satlens.nulls.paths`): a correlation that they show too is about converging, not about this model's layers.

Block by block: the share that skips it, among tokens whose rank 1 is fixed before it and among the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import rankdata

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.lenses import LogitLens
from satlens.models import Batches
from satlens.models.protocol import Batch
from satlens.nulls import EachNull
from satlens.nulls.block import PATH_NULLS
from satlens.reranking.collect import next_ids, next_nats
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, by_document, finite
from satlens.routing.gates import TokenGates
from satlens.saturation.detect import Detector
from satlens.saturation.ranking import check_k
from satlens.verdicts import judged

MARGIN = 0.05
"""Equivalence margin of a correlation."""
CONFOUNDERS = ("log frequency of the token read", "loss of the next token", "position")


@dataclass(frozen=True, eq=False)
class Tokens:
    """What is known of every token that has a next one.

    Attributes:
        skip: ``[token, router]`` p in the run with hard gates.
        layer: ``[token]`` saturation layer of the rank, every token in every block.
        null: by kind, ``[draw, token]`` the same along other ways.
        confounders: ``[token, 3]`` those of `CONFOUNDERS`. doc: ``[token]``.
        n_layers: L.
    """

    skip: Float[ndarray, "token router"]
    layer: Int[ndarray, " token"]
    null: Mapping[str, Int[ndarray, "draw token"]]
    confounders: Float[ndarray, "token c"]
    doc: Int[ndarray, " token"]
    n_layers: int
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a null is not there."""


@dataclass(frozen=True, eq=False)
class SkipReport:
    """How skipping goes with saturation.

    Attributes:
        correlation: Spearman's, of how much a token skips and how many blocks come after its answer.
        partial: the same given the confounders.
        null: by kind, the partial correlation of the null's layers, mean over draws.
        excess: by kind, partial minus that.
        by_block: a row a gated block: share of tokens fixed before it, and who of both kinds skips it.
        difference: share that skips among the fixed minus among the others, mean over blocks with both.
        verdicts: on the partial correlation, and on its excess over the stricter path.
        tokens: how many. missing: why a null is not there.
    """

    correlation: Estimate
    partial: Estimate
    null: Mapping[str, float]
    excess: Mapping[str, Estimate]
    by_block: pd.DataFrame
    difference: Estimate
    verdicts: Sequence[dict[str, Any]]
    tokens: int
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON."""
        return {
            "correlation": self.correlation.to_dict(), "partial": self.partial.to_dict(),
            "null": {kind: finite(one) for kind, one in self.null.items()},
            "excess": {kind: one.to_dict() for kind, one in self.excess.items()},
            "by_block": self.by_block.astype(object).where(self.by_block.notna(), None).to_dict("records"),
            "difference": self.difference.to_dict(), "verdicts": list(self.verdicts),
            "tokens": self.tokens,
        }  # fmt: skip


def skip_and_saturation(
    gates: TokenGates,
    inputs: Any,
    *,
    rank: int = 1,
    kinds: Sequence[str] = PATH_NULLS,
    draws: int = 5,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
) -> SkipReport:
    """Read the inputs with and without gates, and hold who skips against who is fixed.

    Args:
        gates: trained, on their model, which must predict the next token.
        inputs, batch_size: as in `satlens.detect`; documents that the gates were not trained on.
        rank: whose saturation counts. kinds, draws: of path nulls.

    Raises:
        InputError: unusable inputs, fewer than two tokens with a next one.
        ModelError: a model that does not predict the next token, or is in training mode.

    Example:
        >>> import satlens
        >>> gates = TokenGates(satlens.load_model("tiny"))
        >>> stories = ["Lily had a red ball.", "The dog ran to the park."]
        >>> found = skip_and_saturation(gates, stories, draws=1)
        >>> len(found.by_block), found.tokens > 10
        (15, True)
    """
    (tokens,) = collect([gates], inputs, rank, kinds, draws, batch_size, seed)
    return report(tokens, seed=seed)


@torch.no_grad()
def collect(
    every: Sequence[TokenGates],
    inputs: Any,
    rank: int = 1,
    kinds: Sequence[str] = PATH_NULLS,
    draws: int = 5,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
) -> list[Tokens]:
    """One pass with every token in every block, one with the hard gates of each; all are on one model."""
    model = every[0].model
    if not model.causal:
        raise ModelError(
            f"{model.name} does not predict the next token, whose loss is a confounder here."
        )
    if model.host.training:
        raise ModelError(f"{model.name} is in training mode. Call model.eval() first.")
    check_k(rank, model.n_outputs)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    finder = Detector(model)
    nulls = EachNull(LogitLens(model), kinds=kinds, draws=draws, seed=seed)
    kept: list[tuple[ndarray, ...]] = []
    for batch in batches:
        following = next_ids(batch)
        here = (following >= 0).cpu().numpy()
        if not here.any():
            continue
        states = model.states(batch)
        events = finder.events(states, rank)
        rows = torch.from_numpy(here).to(states.resid.device)
        nulls.update(states.resid[:, rows], events[here])
        nats = next_nats(states, following).cpu().numpy()[here]
        skip = np.stack([_skips(gates, batch)[here] for gates in every], axis=1)
        ids, pos = events.input[here], events.pos[here]
        kept.append((skip, events.layer[here, rank - 1], ids, nats, pos, events.doc[here]))
    if sum(len(one[0]) for one in kept) < 2:
        raise InputError(
            "Fewer than two tokens have a next one: nothing to correlate. Give longer texts."
        )
    skip, layer, ids, nats, pos, doc = (np.concatenate(part) for part in zip(*kept, strict=True))
    order = np.lexsort((pos, doc))
    _, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    confounders = np.stack([np.log(counts[place]), nats, pos], axis=1).astype(float)
    null = {kind: one.layer[..., rank - 1] for kind, one in nulls.finish().items()}
    return [
        Tokens(skip[order, i], layer[order], null, confounders[order], doc[order], model.n_layers,
               nulls.missing)
        for i in range(len(every))
    ]  # fmt: skip


def _skips(gates: TokenGates, batch: Batch) -> Float[ndarray, "token router"]:
    """p at the positions that count, in the run with hard gates."""
    with gates.attached("hard") as run:
        gates.model.forward(batch)
    return run.skip[:, batch.real.to(run.skip.device)].T.cpu().numpy()


def report(
    tokens: Tokens, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
) -> SkipReport:
    """The correlations, block by block, and the verdicts, from what `collect` gave."""
    settings: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    x, left = rankdata(tokens.skip.mean(1)), tokens.n_layers - 1 - tokens.layer
    z = np.stack([rankdata(one) for one in tokens.confounders.T], axis=1)
    z = (z - z.mean(0)) / np.maximum(z.std(0), 1e-12)
    basis = np.column_stack([np.ones(len(x)), z, z**2])
    constant = basis[:, :1]
    plain = _correlations(x, rankdata(left)[None], constant, tokens.doc)
    raw = bootstrap(plain, _first, **settings)[0]
    kinds = list(tokens.null)
    lefts = [left[None], *(tokens.n_layers - 1 - tokens.null[kind] for kind in kinds)]
    sizes = [len(one) for one in lefts]
    ranks = np.stack([rankdata(one) for one in np.concatenate(lefts)])
    found = bootstrap(
        _correlations(x, ranks, basis, tokens.doc), lambda s: _with_excess(s, sizes), **settings
    )
    excess = {kind: found[1 + i] for i, kind in enumerate(kinds)}
    null = {kind: found.value[0] - one.value for kind, one in excess.items()}
    table, sums = _by_block(tokens)
    difference = bootstrap(sums, _mean_difference, **settings)[0]
    return SkipReport(
        raw,
        found[0],
        null,
        excess,
        table,
        difference,
        _verdicts(found[0], excess),
        len(x),
        tokens.missing,
    )


def _correlations(
    x: Float[ndarray, " token"],
    ys: Float[ndarray, "draw token"],
    basis: Float[ndarray, "token c"],
    doc: Int[ndarray, " token"],
) -> Float[ndarray, "doc m"]:
    """By document, the sums that the correlation of what the basis leaves of x and of each y is made of."""
    coef, *_ = np.linalg.lstsq(basis, np.column_stack([x, ys.T]), rcond=None)
    u, *vs = (np.column_stack([x, ys.T]) - basis @ coef).T
    columns = [np.ones_like(u), u, u * u]
    for v in vs:
        columns += [v, v * v, u * v]
    return by_document(np.stack(columns, axis=1), doc)


def _each(s: Float[ndarray, "... m"]) -> Float[ndarray, "... draw"]:
    """The correlation of each y; NaN where x or y does not vary."""
    n, u, uu = s[..., 0:1], s[..., 1:2], s[..., 2:3]
    v, vv, uv = s[..., 3::3], s[..., 4::3], s[..., 5::3]
    spread = np.maximum(uu - u * u / n, 0) * np.maximum(vv - v * v / n, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-9 * n * n, (uv - u * v / n) / np.sqrt(spread), np.nan)


def _first(s: Float[ndarray, "... m"]) -> Float[ndarray, "... 1"]:
    return _each(s)[..., :1]


def _with_excess(s: Float[ndarray, "... m"], sizes: Sequence[int]) -> Float[ndarray, "... n"]:
    """The model's correlation, then for each null the model's minus the mean of its draws."""
    parts = np.split(_each(s), np.cumsum(sizes)[:-1], axis=-1)
    real = parts[0]
    return np.concatenate(
        [real, *(real - one.mean(-1, keepdims=True) for one in parts[1:])], axis=-1
    )


def _by_block(tokens: Tokens) -> tuple[pd.DataFrame, Float[ndarray, "doc m"]]:
    """Who skips each block, of those fixed before it and of the others; and the sums by document."""
    blocks = np.arange(1, tokens.n_layers)
    fixed = tokens.layer[:, None] < blocks
    skips = tokens.skip > 0.5
    sums = by_document(
        np.stack([fixed, fixed & skips, ~fixed, ~fixed & skips], axis=2)
        .reshape(len(fixed), -1)
        .astype(float),
        tokens.doc,
    )
    total = sums.sum(0).reshape(-1, 4)
    with np.errstate(invalid="ignore"):
        table = pd.DataFrame({
            "block": blocks, "fixed": total[:, 0] / len(fixed), "skip": skips.mean(0),
            "skip_fixed": total[:, 1] / total[:, 0], "skip_other": total[:, 3] / total[:, 2],
        })  # fmt: skip
    return table, sums


def _mean_difference(s: Float[ndarray, "... m"]) -> Float[ndarray, "... 1"]:
    parts = s.reshape(*s.shape[:-1], -1, 4)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = parts[..., 1] / parts[..., 0] - parts[..., 3] / parts[..., 2]
    there = np.isfinite(gap)
    count = there.sum(-1, keepdims=True)
    total = np.where(there, gap, 0).sum(-1, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _verdicts(partial: Estimate, excess: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    said = [judged(
        "router_skips_the_fixed",
        "The router skips tokens whose answer is fixed, given their frequency, loss and position.",
        ("partial rank correlation of skipping and blocks left", partial), MARGIN,
    )]  # fmt: skip
    known = {kind: one for kind, one in excess.items() if np.isfinite(one.value)}
    if known:
        strictest = min(known, key=lambda kind: known[kind].value)
        said.append(judged(
            "router_skips_the_fixed_beyond_converging",
            "It does so beyond what a path into the same end explains.",
            ("partial correlation over the stricter path", known[strictest]), MARGIN, strictest,
        ))  # fmt: skip
    return said
