"""A decoder block by block, over keys and values that are kept: what generation computes, and no more.

    a = norm_1(h)      q, k, v = R(W_Q a), R(W_K a), W_V a      R: rotary, where the model has it
    h' = h + W_O attention(q, K, V)
    h_next = h' + mlp(norm_2(h'))                               from h in place of h' in parallel blocks

The weights are the host's own tensors, or views of them; `satlens.exits.decoder.hosts` says where each kind
of host keeps them. Keys and values of a position that left early are made from the state it left with,
through the norm and the projections of each block it skipped (Schuster et al. 2022, CALM), when a later
position of its sequence first reads that block: the block multiplies such states along with its own, so its
weights are read once for both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from satlens.exits.decoder.cache import Cache
from satlens.exits.decoder.parts import Linear, Mlp, Norm, Project, Rotary


@dataclass(frozen=True, eq=False)
class Places:
    """Where some states stand: ``m`` neighbouring positions of each of some rows of the cache.

    Attributes:
        rows: the rows; None for all of them, in order.
        pos: the positions.
        end: one more than the largest position.
        level: every row is at the same positions.
        angles: of a rotary embedding.
    """

    rows: Int[Tensor, " row"] | None
    pos: Int[Tensor, "row m"]
    end: int
    level: bool
    angles: tuple[Tensor, Tensor] | None = None
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    @cached_property
    def where(self) -> tuple[Int[Tensor, " some"], Int[Tensor, " some"]]:
        """Row and position of each state, laid end to end."""
        n, m = self.pos.shape
        rows = torch.arange(n, device=self.pos.device) if self.rows is None else self.rows
        return (rows if m == 1 else rows.repeat_interleave(m)), self.pos.reshape(-1)

    def mask(self, window: int | None) -> Bool[Tensor, "row 1 m key"] | None:
        """Which of the first ``end`` positions each may read; None if all, or all up to its own."""
        near = window if window is not None and window < self.end else None
        if near is None and (self.whole or (self.level and self.pos.shape[1] == 1)):
            return None
        if near not in self._masks:
            key = torch.arange(self.end, device=self.pos.device)
            pos = (self.pos[:1] if self.level else self.pos)[:, None, :, None]
            mask = key <= pos
            self._masks[near] = mask if near is None else mask & (key > pos - near)
        return self._masks[near]

    @property
    def whole(self) -> bool:
        """Every position from the first one on, so that attention is causal and nothing else."""
        return self.level and self.pos.shape[1] == self.end

    def keep(self, stay: Int[Tensor, " kept"]) -> "Places":
        """Some of the rows; ``stay`` are places among these."""
        rows = stay if self.rows is None else self.rows[stay]
        angles = self.angles and (self.angles[0][stay], self.angles[1][stay])
        return Places(rows, self.pos[stay], self.end, self.level, angles)


@dataclass(frozen=True, eq=False)
class Block:
    """One block of a decoder."""

    norm_1: Norm
    project: Project
    out: Linear
    norm_2: Norm | None
    mlp: Mlp | None
    scale: float
    """What queries times keys are multiplied by."""
    parallel: bool = False
    window: int | None = None
    """How many positions back attention reads, its own among them; None for all."""
    q_norm: Norm | None = None
    k_norm: Norm | None = None

    def __call__(
        self,
        h: Float[Tensor, "some d"],
        at: Places,
        cache: Cache,
        layer: int,
        rotary: Rotary | None,
    ) -> Float[Tensor, "some d"]:
        """The states after the block, a row's side by side; their keys and values go into the cache."""
        middle = h + self.out(self._attend(h, at, cache, layer, rotary))
        if self.mlp is None or self.norm_2 is None:
            return middle
        return middle + self.mlp(self.norm_2(h if self.parallel else middle))

    def _attend(
        self, h: Tensor, at: Places, cache: Cache, layer: int, rotary: Rotary | None
    ) -> Float[Tensor, "some e"]:
        due = cache.due(layer, at.rows)
        x = self.norm_1(h if due is None else torch.cat([h, due.resid]))
        q, k, v = self.project(x, len(h))
        q = q if self.q_norm is None else self.q_norm(q)
        k = k if self.k_norm is None else self.k_norm(k)
        if rotary is not None:
            mine = at.angles or rotary.at(at.where[1])
            q = rotary.turn(q, mine)
            if due is not None:
                theirs = rotary.at(due.pos)
                mine = (torch.cat([mine[0], theirs[0]]), torch.cat([mine[1], theirs[1]]))
            k = rotary.turn(k, mine)
        cache.write(layer, at.where, k[: len(h)], v[: len(h)])
        if due is not None:
            cache.fill(layer, due, k[len(h) :], v[len(h) :])
        keys, values = cache.read(layer, at.rows, at.end)
        n, m = at.pos.shape
        return attention(q.reshape(n, m, *q.shape[1:]), keys, values, self.scale, at, self.window)


def attention(
    q: Float[Tensor, "row m head e"],
    keys: Float[Tensor, "row key kv e"],
    values: Float[Tensor, "row key kv e"],
    scale: float,
    at: Places,
    window: int | None,
) -> Float[Tensor, "some all"]:
    """Softmax attention; several query heads may share a key head."""
    n, m, heads, e = q.shape
    shared = heads // keys.shape[2]
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    mask = at.mask(window)
    if m == 1:  # the queries of a shared head stand side by side, as if they were positions
        z = F.scaled_dot_product_attention(
            q.view(n, -1, shared, e), keys, values, attn_mask=mask, scale=scale
        )
        return z.reshape(n, heads * e)
    if shared > 1:
        keys, values = keys.repeat_interleave(shared, 1), values.repeat_interleave(shared, 1)
    z = F.scaled_dot_product_attention(
        q.transpose(1, 2), keys, values, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return z.transpose(1, 2).reshape(n * m, heads * e)


@dataclass(frozen=True, eq=False)
class Decoder:
    """A host's embedding and blocks; norm and head at the end belong to the lens.

    Attributes:
        tables: ``length -> Rotary``: the angles of the first positions; None without rotary.
        positions: learned position embeddings, or None.
    """

    kind: str
    embedding: Float[Tensor, "token d"]
    positions: Float[Tensor, "pos d"] | None
    blocks: tuple[Block, ...]
    kv_heads: int
    d_head: int
    tables: Callable[[int], Rotary] | None = None

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def embed(
        self, ids: Int[Tensor, "*some"], pos: Int[Tensor, "*some"]
    ) -> Float[Tensor, "*some d"]:
        """The states before block 0."""
        h = F.embedding(ids, self.embedding)
        if self.positions is None:
            return h
        return h + F.embedding(pos.clamp(max=len(self.positions) - 1), self.positions)

    def cache(self, rows: int, length: int) -> Cache:
        """An empty cache."""
        shape = (rows, length, self.kv_heads, self.d_head)
        return Cache(self.n_layers, shape, self.embedding)
