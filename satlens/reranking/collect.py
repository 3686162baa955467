"""One pass over a corpus: `NextTokens`, and the saturation layers that nulls would have given.

    states of a batch -> events, final output -> k layers and a few numbers of every position
                      -> where top-1 is wrong: rotated and exchanged paths (`satlens.nulls`) -> their layers

and one pass with each untrained model, whose layers at the same positions know nothing that was learned.
Nothing of a later position is read: layers and numbers at a position come from its own states alone, and the
next token is only noted down beside them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError, ModelError
from satlens.lenses import LogitLens
from satlens.models import Batches, ResidualModel, untrained, wrap
from satlens.models.protocol import Batch, States
from satlens.nulls import EachNull, NullDraws, untrained_draws
from satlens.nulls.block import PATH_NULLS
from satlens.reranking.final_output import of_states
from satlens.reranking.tokens import NextTokens
from satlens.saturation.detect import Detector, stream
from satlens.saturation.events import SaturationEvents
from satlens.saturation.ranking import check_k

NULL_TOKENS = 5_000
_SCORES = 2**22
"""Scores turned into losses at a time."""


@dataclass(frozen=True, eq=False)
class Collected:
    """What one pass gives.

    Attributes:
        tokens: every position that has a next token.
        nulls: by kind, layers at positions where top-1 is wrong. missing: why a kind is not there.
    """

    tokens: NextTokens
    nulls: Mapping[str, NullDraws]
    missing: Mapping[str, str]


def next_ids(batch: Batch) -> Int[Tensor, " token"]:
    """The id that follows each position that counts in its window, or -1; in the order of `States`."""
    following = torch.full_like(batch.tokens, -1)
    following[:, :-1] = batch.tokens[:, 1:].where(batch.real[:, 1:], -1)
    return following[batch.real]


@torch.no_grad()
def next_nats(states: States, following: Int[Tensor, " token"]) -> Float[Tensor, " token"]:
    """-log p of the id that follows each position, in nats; 0 where `next_ids` has none."""
    size = max(1, _SCORES // states.logits.shape[1])
    parts = zip(states.logits.split(size), following.split(size), strict=True)
    return torch.cat([
        cross_entropy(logits.float(), after, reduction="none", ignore_index=-1) for logits, after in parts
    ])  # fmt: skip


def next_tokens(model: Any, inputs: Any, *, k: int = DEFAULT_K, batch_size: int = 8) -> NextTokens:
    """What is to be known of every position of some texts that has a next token.

    Args:
        model, inputs, k, batch_size: as in `satlens.detect`; inputs may be `Batches`.

    Raises:
        InputError: unusable inputs or k, or no position with a next token.
        ModelError: a model that reads both sides of a position.

    Example:
        >>> import satlens
        >>> next_tokens(satlens.load_model("tiny"), ["Lily had a red ball.", "Tom saw a cat."], k=3)
        NextTokens(... positions, 2 documents, k=3, 16 layers, top-1 right: ...)
    """
    model = wrap(model)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    return collect(model, batches, k=k, null_tokens=0, untrained_seeds=0).tokens


def collect(
    model: ResidualModel,
    batches: Batches,
    *,
    k: int = DEFAULT_K,
    draws: int = 20,
    null_tokens: int = NULL_TOKENS,
    untrained_seeds: int = 1,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> Collected:
    """Read batches made before; path nulls for the first documents, up to ``null_tokens`` tokens."""
    check_model(model, k)
    nulls = PathNulls(model, batches, null_tokens, draws, seed)
    parts = []
    for batch, states, events in _events(model, batches, k, progress):
        following = next_ids(batch)
        rows = following >= 0
        if rows.any():
            parts.append(of_states(states, events, following, rows))
            keep = rows & (following != torch.tensor(events.token[:, 0]).to(following))
            nulls.update(states.resid, events, keep)
    if not parts:
        raise InputError(
            f"No position of the inputs has a next token: {model.name} was given documents of one token "
            "each. Give longer texts."
        )
    tokens = NextTokens.concat(parts)
    found, missing = nulls.finish()
    if untrained_seeds:
        try:
            found["untrained"] = _untrained(
                model, batches, tokens, k, range(seed, seed + untrained_seeds), progress
            )
        except (ModelError, InputError) as error:
            missing["untrained"] = str(error)
    else:
        missing["untrained"] = "None was asked for (untrained_seeds=0)."
    return Collected(tokens, found, missing)


def check_model(model: ResidualModel, k: int) -> None:
    """Refuse what has no next token to predict, or no rest behind the ranks."""
    if not model.causal:
        raise ModelError(
            f"{model.name} reads both sides of a position, so it does not predict the next token. Pass a "
            "causal language model (of one you built by hand: ResidualModel(..., causal=True))."
        )
    if model.n_layers < 2:
        raise ModelError(f"{model.name} has one block: every rank is fixed only at the last layer.")
    check_k(k, model.n_outputs)
    if k == model.n_outputs:
        raise InputError(
            f"k={k} leaves none of {model.n_outputs} outputs beside the ranks; lower k."
        )


def _events(
    model: ResidualModel, batches: Batches, k: int, progress: bool
) -> Iterator[tuple[Batch, States, SaturationEvents]]:
    """`satlens.saturation.detect.stream` with the batch, which knows where its windows end."""
    finder = Detector(model)
    total = getattr(batches, "n_tokens", None)
    with tqdm(
        total=total, desc=f"next tokens, {model.name}", unit=" tokens", disable=not progress
    ) as bar:
        for batch in batches:
            if batch.real.any():
                states = model.states(batch)
                yield batch, states, finder.events(states, k)
                bar.update(len(states.pos))


class PathNulls:
    """Layers of the path nulls at the positions in question, of the first documents."""

    def __init__(
        self, model: ResidualModel, batches: Batches, tokens: int, draws: int, seed: int
    ) -> None:
        lens = LogitLens(model)
        self.chosen = _first_documents(batches, tokens)
        kinds = PATH_NULLS if tokens else ()
        self.nulls = EachNull(lens, kinds=kinds, draws=draws, seed=seed)
        self.nulls.missing |= {
            kind: "None was asked for (null_tokens=0)." for kind in PATH_NULLS if not tokens
        }

    def update(
        self,
        resid: Float[Tensor, "layer token d"],
        events: SaturationEvents,
        rows: Bool[Tensor, " token"],
    ) -> None:
        """Take the states of one batch at some rows."""
        here = rows.cpu().numpy()
        if self.chosen is not None:
            here = here & np.isin(events.doc, self.chosen)
        if not here.any():
            return
        kept = resid[:, torch.from_numpy(here).to(resid.device)]
        self.nulls.update(kept, events[here])

    def finish(self) -> tuple[dict[str, NullDraws], dict[str, str]]:
        """The draws by kind, and why a kind is not there."""
        return self.nulls.finish(), self.nulls.missing


def _first_documents(batches: Batches, tokens: int) -> list[int] | None:
    """The first documents, up to this many tokens and two at least; None for all of them."""
    if not isinstance(batches, Batches) or not all(hasattr(row, "doc") for row in batches.rows):
        return None
    every = list(dict.fromkeys(row.doc for row in batches.rows))
    first = {row.doc for row in batches.first(max(tokens, 1)).rows}
    return sorted(first | set(every[:2]))


def _untrained(
    model: ResidualModel,
    batches: Batches,
    tokens: NextTokens,
    k: int,
    seeds: Sequence[int],
    progress: bool,
) -> NullDraws:
    """The layers that untrained models give their own ranks at the positions where top-1 is wrong."""
    wrong = tokens[~tokens.right]
    place = {key: row for row, key in enumerate(wrong.places())}
    others = []
    for seed in seeds:
        fresh = replace(wrap(untrained(model, seed)), name=f"{model.name} untrained, seed {seed}")
        layer = np.full((len(wrong), k), -1, np.int16)
        for _, events in stream(fresh, batches, k=k, logits=False, progress=progress):
            keys = zip(events.doc.tolist(), events.pos.tolist(), strict=True)
            at = np.array([place.get(key, -1) for key in keys])
            layer[at[at >= 0]] = events.layer[at >= 0]
        others.append(as_events(wrong, layer))
    return untrained_draws(as_events(wrong), others)


def as_events(tokens: NextTokens, layer: Int[ndarray, "n k"] | None = None) -> SaturationEvents:
    """Some positions as events, with their own layers or with others."""
    return SaturationEvents(
        tokens.layer if layer is None else layer, tokens.token[:, : tokens.k], tokens.doc, tokens.pos,
        tokens.n_layers, settings=tokens.settings,
    )  # fmt: skip
