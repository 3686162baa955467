"""States and a final ranking -> saturation layers: the plain reference, and the backward scan.

Rank ``i`` is unbroken at layer ``l`` if the token at rank ``i`` of ``scores(h_l)`` is the final ``t_i``.
With ``b`` the last layer below ``L - 1`` at which it is broken,

    s[token, i] = b + 1        (0 if it is never broken).

`plain_scan` ranks every layer. `backward_scan` goes down from layer ``L - 2`` and follows only the
tokens that still have an unbroken rank; and it ranks a row only where the k known tokens and the
highest of all the others do not settle it. With ``p_i`` the number of known tokens before ``t_i`` (higher, or
equal with a lower id) and ``m`` the highest unknown score, at rank ``i = 0 .. k - 1``

    z(t_i) > m       nobody else is before it: unbroken if and only if p_i = i
    z(t_i) < m       somebody else is: broken if p_i >= i, else the row is ranked
    z(t_i) = m       broken if p_i > i, else the row is ranked

Both give the same layers on every input, ties included.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from satlens.errors import InputError
from satlens.saturation.ranking import check_k, top_ids

Scores = Callable[[Tensor, int], Tensor]
"""``scores(resid [token, d], layer) -> [token, output]``: a lens, as the scans call it."""

MIN_ROWS = 32
"""Scores are computed for at least this many rows. A matrix product of very few rows takes another
kernel whose rounding differs in the last bit (measured: float32, fewer than 6 rows), which would
let the two scans disagree about equal scores. In odd sizes (measured: 11 outputs of width 7) a row's last
bit depends even on its place among the rows: scores that are equal in exact arithmetic but not in
floating point, such as those of repeated rows of an unembedding, may then be put in either order."""

MAX_ROWS = 512
"""At most ``MAX_ROWS * V`` scores exist at a time, whatever the corpus and the number of layers."""


MAX_SCREENED = 32
"""Up to this k the known tokens are compared pair by pair, ``k * k`` comparisons a row."""


def plain_scan(
    resid: Float[Tensor, "layer token d"], final: Int[Tensor, "token k"], scores: Scores
) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token layer k"]]:
    """The reference: rank every layer, count the unbroken tail. Gives ``(layer, top)``.

    ``top[:, L - 1]`` is ``final``, the model's own ranking.
    """
    _check(resid, final)
    n_layers, k = len(resid), final.shape[1]
    ranked = [rank_rows(resid[layer], layer, scores, k) for layer in range(n_layers - 1)]
    top = torch.stack([*ranked, final], dim=1)
    unbroken = top == final[:, None]
    tail = unbroken.flip(1).long().cumprod(1).sum(1)
    return n_layers - tail, top


def backward_scan(
    resid: Float[Tensor, "layer token d"], final: Int[Tensor, "token k"], scores: Scores
) -> Int[Tensor, "token k"]:
    """The saturation layers, from the top down, at the cost of the rows still unbroken."""
    _check(resid, final)
    n_layers = len(resid)
    saturation = torch.full_like(final, n_layers - 1)
    rows = torch.arange(len(final), device=final.device)
    unbroken = torch.ones_like(final, dtype=torch.bool)
    for layer in range(n_layers - 2, -1, -1):
        unbroken &= held_rows(resid[layer][rows], final[rows], unbroken, layer, scores)
        saturation[rows] = torch.where(unbroken, layer, saturation[rows])
        alive = unbroken.any(1)
        rows, unbroken = rows[alive], unbroken[alive]
        if len(rows) == 0:
            break
    return saturation


def rank_rows(
    resid: Float[Tensor, "token d"], layer: int, scores: Scores, k: int
) -> Int[Tensor, "token k"]:
    """The top k of one layer."""
    return torch.cat([top_ids(z, k) for z in score_blocks(resid, layer, scores)])


def held_rows(
    resid: Float[Tensor, "token d"],
    final: Int[Tensor, "token k"],
    unbroken: Bool[Tensor, "token k"],
    layer: int,
    scores: Scores,
) -> Bool[Tensor, "token k"]:
    """Whether each rank holds its final token at this layer, where it is still unbroken."""
    held = []
    for z in score_blocks(resid, layer, scores):
        rows = slice(len(held) * MAX_ROWS, len(held) * MAX_ROWS + len(z))
        held.append(_held(z, final[rows], unbroken[rows]))
    return torch.cat(held)


def _held(
    z: Float[Tensor, "token output"], final: Int[Tensor, "token k"], asked: Bool[Tensor, "token k"]
) -> Bool[Tensor, "token k"]:
    """The rule of the module, in its letters; ``asked`` are the ranks that matter."""
    k = final.shape[1]
    if k > MAX_SCREENED:
        return top_ids(z, k) == final
    known = z.gather(1, final)
    m = z.scatter(1, final, -torch.inf).amax(1, keepdim=True)
    if (known.isnan().any(1, keepdim=True) | m.isnan()).any():
        top_ids(z, k)  # raises, and says how many
    mine, other = known[:, :, None], known[:, None, :]
    before = (other > mine) | ((other == mine) & (final[:, None, :] < final[:, :, None]))
    p, i = before.sum(2), torch.arange(k, device=z.device)
    held = (known > m) & (p == i)
    unsure = asked & (((known < m) & (p < i)) | ((known == m) & (p <= i)))
    ranked = unsure.any(1).nonzero().flatten()
    if len(ranked):
        held[ranked] = top_ids(z[ranked], k) == final[ranked]
    return held


def score_blocks(
    resid: Float[Tensor, "token d"], layer: int, scores: Scores
) -> Iterator[Float[Tensor, "rows output"]]:
    """The scores of one layer in blocks of at most `MAX_ROWS` rows, so that few exist at a time."""
    for block in resid.split(MAX_ROWS):
        rows = len(block)
        if rows < MIN_ROWS:
            block = torch.cat([block, block[:1].expand(MIN_ROWS - rows, -1)])
        yield scores(block, layer)[:rows]


def _check(resid: Tensor, final: Tensor) -> None:
    if resid.ndim != 3 or final.ndim != 2 or resid.shape[1] != final.shape[0] or not len(final):
        raise InputError(
            "A scan wants states [layer, token, d] and a final ranking [token, k] of the same, "
            f"non-zero number of tokens; got {tuple(resid.shape)} and {tuple(final.shape)}."
        )
    check_k(final.shape[1], final.shape[1])
