"""How many blocks a model uses until its answer is fixed, and what share of its depth comes after.

    blocks used until rank i is fixed    u_i = mean over tokens of (s_i + 1)        1 .. L, a lower bound
    share of the depth after it          a_i = 1 - u_i / L
    excess over a null                   a_i - a_i(null)

s_i = L - 1 is censored: the rank is seen fixed only at the output, so u_i is a lower bound and a_i an upper
one. The nulls are other ways into each token's own final state (`satlens.nulls.paths`): a share after the
answer that they show too is what converging to one's end gives, whatever the layers do. Sums are kept by
document, so that models that read the same documents can be compared (`satlens.theory.depth.beyond`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses import LogitLens
from satlens.models import Batches, wrap
from satlens.models.protocol import Batch, States
from satlens.nulls import EachNull
from satlens.nulls.block import PATH_NULLS
from satlens.reranking.collect import next_ids, next_nats
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, bootstrap, by_document
from satlens.saturation.detect import Detector
from satlens.saturation.ranking import check_k


@dataclass(frozen=True, eq=False)
class Spent:
    """Where a model's depth goes: sums by document, from which every number follows.

    Attributes:
        name: of the model. n_layers, width: its shape.
        doc: ``[doc]`` the documents' numbers. tokens: ``[doc]`` their positions that count.
        used: ``[doc, k]`` sums over tokens of the blocks used until each rank is fixed, ``s + 1``.
        null: by kind, ``[doc, k]`` the same of the null layers, mean over the draws.
        nats, targets: ``[doc]`` summed loss of the next tokens, and their number; zeros for a model
            that predicts no next token.
        settings: what made them, and why a null is ``missing``.
    """

    name: str
    n_layers: int
    width: int
    doc: Int[ndarray, " doc"]
    tokens: Float[ndarray, " doc"]
    used: Float[ndarray, "doc k"]
    null: Mapping[str, Float[ndarray, "doc k"]]
    nats: Float[ndarray, " doc"]
    targets: Float[ndarray, " doc"]
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.used.ndim != 2 or len(self.used) == 0:
            raise InputError(
                f"used must be [doc, k] of one document or more; got {self.used.shape}."
            )
        n, k = self.used.shape
        wanted = {name: (n,) for name in ("doc", "tokens", "nats", "targets")}
        found = {name: getattr(self, name).shape for name in wanted}
        wanted |= dict.fromkeys(self.null, (n, k))
        found |= {kind: values.shape for kind, values in self.null.items()}
        for name, shape in wanted.items():
            if found[name] != shape:
                raise InputError(
                    f"{name} has shape {found[name]}; beside used {(n, k)} it must be {shape}."
                )

    def __repr__(self) -> str:
        return (
            f"Spent({self.name}: {self.n_layers} blocks of width {self.width}, "
            f"{int(self.tokens.sum()):,} tokens, {len(self.doc):,} documents, k={self.k})"
        )

    @property
    def k(self) -> int:
        """Number of ranks followed."""
        return self.used.shape[1]

    def blocks_used(
        self, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
    ) -> Intervals:
        """``[k]`` mean blocks used until each rank is fixed."""
        sums = np.column_stack([self.used, self.tokens])
        return bootstrap(sums, _mean, draws=draws, level=level, seed=seed)

    def after(
        self, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
    ) -> Intervals:
        """``[k]`` share of the blocks that come after each rank is fixed."""
        sums = np.column_stack([self.used, self.tokens])
        return bootstrap(
            sums, lambda s: 1 - _mean(s) / self.n_layers, draws=draws, level=level, seed=seed
        )

    def excess(
        self, kind: str, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
    ) -> Intervals:
        """``[k]`` the share after each rank is fixed, minus that of a null.

        Raises:
            InputError: a null that was not drawn.
        """
        if kind not in self.null:
            raise InputError(
                f"No null {kind!r} of {self.name}; drawn are {', '.join(self.null) or 'none'}."
            )
        sums = np.column_stack([self.null[kind] - self.used, self.tokens])
        return bootstrap(
            sums, lambda s: _mean(s) / self.n_layers, draws=draws, level=level, seed=seed
        )

    def loss(
        self, *, draws: int = DRAWS, level: float = LEVEL, seed: int = DEFAULT_SEED
    ) -> Estimate:
        """Mean loss of the next token, in nats; NaN with a note where nothing is predicted."""
        if not self.targets.sum():
            return Estimate(np.nan, np.nan, np.nan, note="no next token to predict")
        sums = np.column_stack([self.nats, self.targets])
        return bootstrap(sums, _mean, draws=draws, level=level, seed=seed)[0]

    def to_frame(self) -> pd.DataFrame:
        """One row a rank: blocks used, the share after, and its excess over each null, with intervals."""
        columns: dict[str, Any] = {"rank": np.arange(1, self.k + 1)}
        numbers = {"used": self.blocks_used(), "after": self.after()}
        numbers |= {f"excess_{kind}": self.excess(kind) for kind in self.null}
        for name, found in numbers.items():
            columns |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; `from_dict` reads them."""
        arrays = ("doc", "tokens", "used", "nats", "targets")
        return {
            "name": self.name, "n_layers": self.n_layers, "width": self.width,
            **{name: getattr(self, name).tolist() for name in arrays},
            "null": {kind: values.tolist() for kind, values in self.null.items()},
            "settings": dict(self.settings),
        }  # fmt: skip

    @staticmethod
    def from_dict(said: Mapping[str, Any]) -> "Spent":
        """What `to_dict` gave."""
        return Spent(
            said["name"], said["n_layers"], said["width"], np.array(said["doc"], dtype=np.int64),
            np.array(said["tokens"], dtype=float), np.array(said["used"], dtype=float),
            {kind: np.array(values, dtype=float) for kind, values in said["null"].items()},
            np.array(said["nats"], dtype=float), np.array(said["targets"], dtype=float), said["settings"],
        )  # fmt: skip


def _mean(sums: Float[ndarray, "... m"]) -> Float[ndarray, "... n"]:
    return sums[..., :-1] / sums[..., -1:]


def spent(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    kinds: tuple[str, ...] = PATH_NULLS,
    draws: int = 5,
    batch_size: int = 8,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> Spent:
    """How many blocks this model uses until each rank is fixed, beside nulls; and its loss.

    Args:
        model, inputs, k, batch_size: as in `satlens.detect`; inputs may be `Batches`.
        kinds, draws: nulls, and how many draws of each (`satlens.order.draw_nulls`); none for ().
        progress: show a progress bar.

    Raises:
        InputError: unusable inputs or settings.

    Example:
        >>> import satlens
        >>> stories = ["Lily had a red ball.", "The dog ran to the park."]
        >>> found = spent(satlens.load_model("tiny"), stories, k=2, draws=2)
        >>> found.after().value.shape, found.n_layers
        ((2,), 16)
    """
    model = wrap(model)
    check_k(k, model.n_outputs)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    finder = Detector(model)
    nulls = EachNull(LogitLens(model), kinds=kinds, draws=draws, seed=seed)
    kept, losses = [], []
    total = getattr(batches, "n_tokens", None)
    with tqdm(
        total=total, desc=f"depth, {model.name}", unit=" tokens", disable=not progress
    ) as bar:
        for batch in batches:
            if not batch.real.any():
                continue
            states = model.states(batch, logits=model.causal or not finder.final.linear)
            events = finder.events(states, k)
            nulls.update(states.resid, events)
            losses.append(_losses(states, batch) if model.causal else np.zeros((len(events), 2)))
            kept.append((events.doc, events.layer + 1.0))
            bar.update(len(states.pos))
    if not kept:
        raise InputError("No tokens to measure the depth of: the inputs gave no real position.")
    doc = np.concatenate([one for one, _ in kept])
    rows = np.column_stack(
        [np.concatenate([one for _, one in kept]), np.ones(len(doc)), np.concatenate(losses)]
    )
    sums = by_document(rows, doc)
    drawn = nulls.finish()
    return Spent(
        model.name, model.n_layers, model.d_model, np.unique(doc), sums[:, k], sums[:, :k],
        {kind: by_document(one.layer.mean(0) + 1.0, one.events.doc) for kind, one in drawn.items()},
        sums[:, k + 1], sums[:, k + 2], {"k": k, "draws": draws, "seed": seed, "missing": nulls.missing},
    )  # fmt: skip


def _losses(states: States, batch: Batch) -> Float[ndarray, "token 2"]:
    """Loss at each position in nats, and 1 where there is a next token; zeros elsewhere."""
    following = next_ids(batch)
    nats = next_nats(states, following)
    return torch.stack([nats, (following >= 0).to(nats)], dim=1).cpu().double().numpy()
