"""Whose state is put in: the donor's, and those that tell what the donor's state does from the rest.

For a pair (donor d, recipient r), layer l = s_1(d) + offset:

    paired            h_l(d)                            the paper's patch
    self              h_l(r)                            changes nothing
    unsaturated       h_l(u), t_1(u) = t_1(r), s_1(u) > l     same answer, not yet fixed there
    random_donor      h_l(x), another document and another t_1
    shuffled          h_l(d'), the donor of another pair, its own saturation layer ignored
    random_direction  h_l(r) + |h_l(d) - h_l(r)| v,     v a random unit vector

"unsaturated" takes away that the state is saturated, "shuffled" and "random_donor" that it is about this
answer, "random_direction" that it is a state at all. None of them looks at what comes out.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from satlens.conventions import DEFAULT_SEED
from satlens.patching.jobs import Jobs, gather
from satlens.patching.pairs import Pairs
from satlens.patching.rows import Rows

_REDRAWS = 20
NOBODY = -1


def paired(
    pairs: Pairs, layer: Int[ndarray, "pair offset"], rng: np.random.Generator
) -> Int[ndarray, "pair offset"]:
    """Each pair's own donor."""
    return np.broadcast_to(pairs.donor[:, None], layer.shape)


def own(
    pairs: Pairs, layer: Int[ndarray, "pair offset"], rng: np.random.Generator
) -> Int[ndarray, "pair offset"]:
    """The recipient itself."""
    return np.broadcast_to(pairs.recipient[:, None], layer.shape)


def unsaturated(
    pairs: Pairs, layer: Int[ndarray, "pair offset"], rng: np.random.Generator
) -> Int[ndarray, "pair offset"]:
    """A third token with the same final top-1, which is not fixed at the patched layer.

    The first that qualifies in one random order a pair, so that neighbouring offsets mostly share it.
    """
    events, source = pairs.events, np.full(layer.shape, NOBODY)
    top, fixed = events.token[:, 0], events.layer[:, 0]
    order = np.argsort(top, kind="stable")
    for pair, (donor, recipient) in enumerate(zip(pairs.donor, pairs.recipient, strict=True)):
        first, last = np.searchsorted(top[order], top[recipient] + np.array([0, 1]))
        others = rng.permutation(order[first:last])
        others = others[(others != donor) & (others != recipient)]
        able = fixed[others][:, None] > layer[pair]
        some = able.any(0)
        source[pair, some] = others[able.argmax(0)[some]] if len(others) else NOBODY
    return source


def random_donor(
    pairs: Pairs, layer: Int[ndarray, "pair offset"], rng: np.random.Generator
) -> Int[ndarray, "pair offset"]:
    """Any token of another document that ends in another token; one a pair."""
    doc, top = pairs.events.doc, pairs.events.token[:, 0]

    def able(recipient: ndarray, source: ndarray) -> ndarray:
        return (doc[recipient] != doc[source]) & (top[recipient] != top[source])

    source = rng.integers(len(doc), size=len(pairs))
    for _ in range(_REDRAWS):
        wrong = np.flatnonzero(~able(pairs.recipient, source))
        source[wrong] = rng.integers(len(doc), size=len(wrong))
    for pair in np.flatnonzero(~able(pairs.recipient, source)):
        left = np.flatnonzero(able(pairs.recipient[[pair]], np.arange(len(doc))))
        source[pair] = left[rng.integers(len(left))] if len(left) else NOBODY
    return np.broadcast_to(source[:, None], layer.shape)


def shuffled(
    pairs: Pairs, layer: Int[ndarray, "pair offset"], rng: np.random.Generator
) -> Int[ndarray, "pair offset"]:
    """The donors along one random circle through all pairs: nobody keeps their own."""
    circle = rng.permutation(len(pairs))
    source = np.full(len(pairs), NOBODY)
    if len(pairs) > 1:
        source[circle] = pairs.donor[np.roll(circle, 1)]
    return np.broadcast_to(source[:, None], layer.shape)


SOURCES: dict[str, Callable[..., Int[ndarray, "pair offset"]]] = {
    "paired": paired,
    "self": own,
    "unsaturated": unsaturated,
    "random_donor": random_donor,
    "shuffled": shuffled,
    "random_direction": paired,
}
CONDITIONS = tuple(SOURCES)
CONTROLS = ("unsaturated", "random_donor", "shuffled", "random_direction")
"""The conditions that a patch must do better than."""


def sources(
    condition: str, pairs: Pairs, layer: Int[ndarray, "pair offset"], seed: int = DEFAULT_SEED
) -> Int[ndarray, "pair offset"]:
    """The token, by its row in the events, whose state is put in; -1 where there is none.

    Every condition has a random generator of its own, so leaving one out changes no other.
    """
    rng = np.random.default_rng([seed, CONDITIONS.index(condition)])
    return SOURCES[condition](pairs, layer, rng)


def prepare(
    condition: str,
    pairs: Pairs,
    rows: Rows,
    pair: Int[ndarray, " job"],
    layer: Int[ndarray, " job"],
    source: Int[ndarray, " job"],
    *,
    max_tokens: int,
    seed: int = DEFAULT_SEED,
) -> Jobs:
    """The jobs of one condition, with the states to put in (gathered in forward passes of their own)."""
    events, recipient = pairs.events, pairs.recipient[pair]
    place = rows.find(events.doc[recipient], events.pos[recipient])
    if condition == "self":
        return Jobs(*place, layer)

    def states(token: Int[ndarray, " job"]) -> Float[Tensor, "job d"]:
        row, column = rows.find(events.doc[token], events.pos[token])
        return gather(rows, row, column, layer, max_tokens=max_tokens)

    if condition != "random_direction":
        return Jobs(*place, layer, states(source))
    size = (states(source).float() - states(recipient).float()).norm(dim=1, keepdim=True)
    return Jobs(*place, layer, size * directions_of(len(pair), rows, seed), mode="add")


def directions_of(n: int, rows: Rows, seed: int) -> Float[Tensor, "n d"]:
    """Random unit vectors, a fresh one a job: what one direction happens to do is no noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n, rows.model.d_model, generator=generator)
    return torch.nn.functional.normalize(drawn, dim=1).to(rows.model.device)
