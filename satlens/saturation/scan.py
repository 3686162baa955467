"""States and a final ranking -> saturation layers: the plain reference, and the backward scan.

Rank ``i`` is unbroken at layer ``l`` if the token at rank ``i`` of ``scores(h_l)`` is the final ``t_i``.
With ``b`` the last layer below ``L - 1`` at which it is broken,

    s[token, i] = b + 1        (0 if it is never broken).

`plain_scan` ranks every layer. `backward_scan` goes down from layer ``L - 2`` and follows only the
tokens that still have an unbroken rank. Both give the same layers on every input, ties included.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.errors import InputError
from satlens.saturation.ranking import check_k, top_ids

Scores = Callable[[Tensor, int], Tensor]
"""``scores(resid [token, d], layer) -> [token, output]``: a lens, as the scans call it."""

MIN_ROWS = 32
"""Scores are computed for at least this many rows. A matrix product of very few rows takes another
kernel whose rounding differs in the last bit (measured: float32, fewer than 6 rows), which would
let the two scans disagree about equal scores."""

MAX_ROWS = 512
"""At most ``MAX_ROWS * V`` scores exist at a time, whatever the corpus and the number of layers."""


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
    n_layers, k = len(resid), final.shape[1]
    saturation = torch.full_like(final, n_layers - 1)
    rows = torch.arange(len(final), device=final.device)
    unbroken = torch.ones_like(final, dtype=torch.bool)
    for layer in range(n_layers - 2, -1, -1):
        top = rank_rows(resid[layer][rows], layer, scores, k)
        unbroken &= top == final[rows]
        saturation[rows] = torch.where(unbroken, layer, saturation[rows])
        alive = unbroken.any(1)
        rows, unbroken = rows[alive], unbroken[alive]
        if len(rows) == 0:
            break
    return saturation


def rank_rows(
    resid: Float[Tensor, "token d"], layer: int, scores: Scores, k: int
) -> Int[Tensor, "token k"]:
    """The top k of one layer, in blocks of rows, so that few scores exist at a time."""
    ranked = []
    for block in resid.split(MAX_ROWS):
        rows = len(block)
        if rows < MIN_ROWS:
            block = torch.cat([block, block[:1].expand(MIN_ROWS - rows, -1)])
        ranked.append(top_ids(scores(block, layer)[:rows], k))
    return torch.cat(ranked)


def _check(resid: Tensor, final: Tensor) -> None:
    if resid.ndim != 3 or final.ndim != 2 or resid.shape[1] != final.shape[0] or not len(final):
        raise InputError(
            "A scan wants states [layer, token, d] and a final ranking [token, k] of the same, "
            f"non-zero number of tokens; got {tuple(resid.shape)} and {tuple(final.shape)}."
        )
    check_k(final.shape[1], final.shape[1])
