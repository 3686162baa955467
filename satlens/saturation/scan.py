"""Rows and a final ranking -> saturation layers: the plain reference, and the backward scan.

Rank ``i`` is held at layer ``l`` if the token at rank ``i`` of the scores of ``h_l`` is the final ``t_i``.
With ``b`` the last layer below ``L - 1`` at which it is not,

    s[token, i] = b + 1        (0 if there is no such layer).

`plain_scan` ranks every layer. `backward_scan` goes down from layer ``L - 2`` and follows only the tokens
that still have an unbroken rank. Both give the same layers on every input, ties included
(`satlens.saturation.rows`).
"""

import torch
from jaxtyping import Int
from torch import Tensor

from satlens.errors import InputError
from satlens.saturation.ranking import check_k
from satlens.saturation.rows import Rows


def plain_scan(
    rows: Rows, final: Int[Tensor, "token k"]
) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token layer k"]]:
    """The reference: rank every layer, count the unbroken tail. Gives ``(layer, top)``.

    ``top[:, L - 1]`` is ``final``, the model's own ranking.
    """
    check(rows, final)
    n_layers, k = rows.shape[0], final.shape[1]
    top = torch.stack([*(rows.top(layer, k) for layer in range(n_layers - 1)), final], dim=1)
    unbroken = top == final[:, None]
    tail = unbroken.flip(1).long().cumprod(1).sum(1)
    return n_layers - tail, top


def backward_scan(rows: Rows, final: Int[Tensor, "token k"]) -> Int[Tensor, "token k"]:
    """The saturation layers, from the top down, at the cost of the rows still unbroken."""
    check(rows, final)
    n_layers, n_tokens = rows.shape
    saturation = torch.full_like(final, n_layers - 1)
    alive = torch.arange(n_tokens, device=final.device)
    unbroken = torch.ones_like(final, dtype=torch.bool)
    for layer in range(n_layers - 2, -1, -1):
        unbroken &= rows.held(layer, alive, final[alive], unbroken)
        saturation[alive] = torch.where(unbroken, layer, saturation[alive])
        some = unbroken.any(1)
        alive, unbroken = alive[some], unbroken[some]
        if len(alive) == 0:
            break
    return saturation


def check(rows: Rows, final: Int[Tensor, "token k"]) -> None:
    """Refuse rows and a ranking that do not belong together."""
    if final.ndim != 2 or rows.shape[1] != final.shape[0] or not len(final):
        raise InputError(
            "A scan wants states and a final ranking [token, k] of the same, non-zero number of tokens; "
            f"got {rows.shape[1]} tokens at {rows.shape[0]} layers, and {tuple(final.shape)}."
        )
    check_k(final.shape[1], final.shape[1])
