"""The way of a token to its final state, and other ways of the same geometry.

With h_l the state after block l and h_end = h_{L-1}:

    away     d_l = h_l - h_end                      l = 0 .. L-2    (d_{L-1} = 0)
    steps    n_l = |h_{l+1} - h_l|                  l = 0 .. L-2

    rotated     h'_l = h_end + R d_l                one Haar-random R per token, for all its layers
    exchanged   h'_l = h_end + e_l |d_l| / |e_l|    e_l: the away of another token (the donor)
    walk        h'_l = h_end - sum_{m >= l} n_m u_m u_m: random unit vectors
    line        h'_l = h_end + (1 - l / (L-1)) (h_0 - h_end) + n_l u_l       and h'_{L-1} = h_end

Every one ends exactly in h_end, so the final ranking stays. R acts on the span of the d_l alone: with
D = Q T (columns d_l; T triangular), R D has the law of F T, F a Haar-random orthonormal frame. All in
float32; nothing here shares memory with the states it was made from.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

_REDRAWS = 20


@dataclass(frozen=True)
class Paths:
    """What the nulls keep of the real states of some tokens; the step axis is L - 1 long."""

    end: Float[Tensor, "token d"]
    away: Float[Tensor, "step token d"]

    @staticmethod
    def of(resid: Float[Tensor, "layer token d"]) -> "Paths":
        """The paths of real states, in float32."""
        resid = resid.float()
        return Paths(end=resid[-1].clone(), away=resid[:-1] - resid[-1])

    @cached_property
    def norms(self) -> Float[Tensor, "step token 1"]:
        """``|d_l|``: the distance to the end after each block but the last."""
        return self.away.norm(dim=-1, keepdim=True)

    @cached_property
    def steps(self) -> Float[Tensor, "step token 1"]:
        """``n_l``: the length of the step from layer l to l + 1."""
        following = torch.cat([self.away[1:], torch.zeros_like(self.away[-1:])])
        return (following - self.away).norm(dim=-1, keepdim=True)

    @cached_property
    def triangle(self) -> Float[Tensor, "token r step"]:
        """T of D = Q T, D the d_l as columns: all norms and angles among them, r = min(L - 1, d)."""
        return torch.linalg.qr(self.away.permute(1, 2, 0), mode="r").R

    def ending(self, away: Float[Tensor, "step token d"]) -> Float[Tensor, "layer token d"]:
        """The states ``h_end + away``, and ``h_end`` itself behind them."""
        states = self.end.repeat(len(away) + 1, 1, 1)
        states[:-1] += away
        return states


def rotated(paths: Paths, generator: Generator) -> Float[Tensor, "layer token d"]:
    """Every distance to the end and every angle stays; the direction in the space is random."""
    n, r, _ = paths.triangle.shape
    frames = haar_frames(n, r, paths.end.shape[1], generator)
    return paths.ending((paths.triangle.mT @ frames).permute(1, 0, 2))


def exchanged(paths: Paths, donor: Int[Tensor, " token"]) -> Float[Tensor, "layer token d"]:
    """The way of another token, at this token's own distances to the end.

    Where the donor has no distance at all there is no direction to take: the state is ``h_end``.
    """
    theirs = paths.norms[:, donor]
    scale = torch.where(theirs > 0, paths.norms / theirs, 0.0)
    return paths.ending(paths.away[:, donor] * scale)


def walk(paths: Paths, generator: Generator) -> Float[Tensor, "layer token d"]:
    """A random walk into the end, with the real step lengths."""
    steps = random_like(paths.away, generator) * paths.steps
    return paths.ending(-steps.flip(0).cumsum(0).flip(0))


def line(paths: Paths, generator: Generator) -> Float[Tensor, "layer token d"]:
    """The straight line from the first to the last state, with noise of the real step lengths."""
    noise = random_like(paths.away, generator) * paths.steps
    n_layers = len(paths.away) + 1
    left = 1 - torch.arange(n_layers - 1, device=noise.device) / max(n_layers - 1, 1)
    return paths.ending(left[:, None, None] * paths.away[:1] + noise)


def haar_frames(n: int, r: int, d: int, generator: Generator) -> Float[Tensor, "n r d"]:
    """``n`` frames of ``r`` orthonormal rows in ``d`` dimensions, uniform among all such frames.

    Gaussian rows G, orthonormalised: with G G^T = C C^T, C^-1 G keeps the Gaussian's symmetry under
    every rotation of the space. For r near d the product G G^T is too ill-conditioned for float32,
    and the rows are orthonormalised by QR (with positive diagonal, which keeps the same symmetry).
    """
    rows = torch.randn(n, r, d, generator=generator, device=generator.device)
    if 2 * r <= d:
        cholesky = torch.linalg.cholesky(rows @ rows.mT)
        return torch.linalg.solve_triangular(cholesky, rows, upper=False)
    frame, triangle = torch.linalg.qr(rows.mT)
    return (frame * triangle.diagonal(dim1=-2, dim2=-1).sign()[:, None]).mT


def random_like(away: Float[Tensor, "... d"], generator: Generator) -> Float[Tensor, "... d"]:
    """Independent directions, uniform on the sphere, in the shape of ``away``."""
    normal = torch.randn(away.shape, generator=generator, device=away.device)
    return torch.nn.functional.normalize(normal, dim=-1)


def may_donate(
    doc: Int[Tensor, " token"], top1: Int[Tensor, " token"], receiver: Tensor, donor: Tensor
) -> Bool[Tensor, "..."]:
    """A donor is of another document and has another final top-1 token."""
    return (doc[receiver] != doc[donor]) & (top1[receiver] != top1[donor])


def donor_counts(doc: Int[Tensor, " token"], top1: Int[Tensor, " token"]) -> Int[Tensor, " token"]:
    """How many of these tokens may donate to each: all but those of its document or its top-1."""

    def alike(*columns: Tensor) -> Tensor:
        _, kind, count = torch.stack(columns).unique(dim=1, return_inverse=True, return_counts=True)
        return count[kind]

    return len(doc) - alike(doc) - alike(top1) + alike(doc, top1)


def pick_donors(
    doc: Int[Tensor, " token"], top1: Int[Tensor, " token"], generator: Generator
) -> Int[Tensor, " token"]:
    """One donor for every token, uniform among those that may donate to it; every token has one."""
    n = len(doc)
    everyone = torch.arange(n, device=doc.device)
    donor = torch.randint(n, (n,), generator=generator, device=doc.device)
    for _ in range(_REDRAWS):
        wrong = (~may_donate(doc, top1, everyone, donor)).nonzero().flatten()
        if len(wrong) == 0:
            return donor
        donor[wrong] = torch.randint(n, wrong.shape, generator=generator, device=doc.device)
    for token in (~may_donate(doc, top1, everyone, donor)).nonzero().flatten():
        able = may_donate(doc, top1, token, everyone).nonzero().flatten()
        index = torch.randint(len(able), (1,), generator=generator, device=doc.device)
        donor[token] = able[index[0]]
    return donor
