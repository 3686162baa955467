"""The hard-gated forward in which a token that skips is really not computed.

    A = tokens that run block l,   K = A and the tokens of the same rows in front of the last of A
    q = W_Q norm_1(h_A)            k, v = W_K norm_1(h_K), W_V norm_1(h_K)
    h_A <- h_A + W_O attention(q, k, v),    h_A <- h_A + mlp(norm_2(h_A))

Queries, what attention puts out and the MLP exist for A alone; keys and values for all that A may read, since
others attend to a token that skips. Gather before, scatter after. The blocks are the host's own, as plain
functions (`satlens.exits.decoder`), compared with the host before they are used. Equal to
`TokenGates.attached("hard")` up to rounding; a p within rounding of 1/2 may fall the other way.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from satlens.errors import InputError
from satlens.exits.decoder.check import checked_decoder
from satlens.exits.decoder.decoder import Block, Places, attention
from satlens.exits.decoder.parts import Rotary
from satlens.routing.gates import TokenGates, share_that_runs


@dataclass(frozen=True, eq=False)
class SparseOutput:
    """What a sparse forward pass gives.

    Attributes:
        logits: of every position; behind the last real one of a row they mean nothing.
        active: which tokens ran block 1, 2, ..., L-1.
    """

    logits: Float[Tensor, "row pos output"]
    active: Bool[Tensor, "block row pos"]


class SparseForward:
    """A gated model, computed sparsely: built once, called often.

    Args:
        gates: on their model, a decoder-only language model of TransformerLens or Hugging Face.

    Raises:
        ModelError: a host whose blocks are not known, or that has hooks on it (they would not run).

    Example:
        >>> import satlens
        >>> from satlens.routing import TokenGates
        >>> host = satlens.load_model("tiny")
        >>> gates = TokenGates(host, bias=0.0)
        >>> tokens = torch.arange(10, 30)[None]
        >>> found = SparseForward(gates)(tokens)
        >>> with torch.no_grad(), gates.attached("hard"):
        ...     torch.allclose(host(tokens), found.logits, atol=1e-3)
        True
        >>> bool((found.active == 0).any())
        True
    """

    def __init__(self, gates: TokenGates) -> None:
        self.gates = gates
        self.model = gates.model
        self.decoder = checked_decoder(self.model)

    @torch.no_grad()
    def __call__(
        self,
        ids: Int[Tensor, "row pos"],
        *,
        real: Bool[Tensor, "row pos"] | None = None,
        active: Bool[Tensor, "block row pos"] | None = None,
        ask: bool = False,
    ) -> SparseOutput:
        """Logits and who ran.

        Args:
            ids: as the model reads them (a BOS among them, if it has one).
            real: False at padding, which stands at the end of a row.
            active: who is to run, in place of what the routers say.
            ask: ask the routers all the same, so that they cost what they cost.

        Raises:
            InputError: shapes that do not fit, rows longer than the context, or padding in front.
        """
        ids, real = self._checked(ids, real, active)
        n, m = ids.shape
        pos = torch.arange(m, device=ids.device).expand(n, m)
        rotary = None if self.decoder.tables is None else self.decoder.tables(m)
        h = self.decoder.embed(ids.flatten(), pos.flatten())
        ran = torch.zeros(len(self.gates.routers), n, m, dtype=torch.bool, device=ids.device)
        for layer, block in enumerate(self.decoder.blocks):
            if layer == 0:
                h = dense(block, h, pos, rotary)
                continue
            runs = real
            if active is None or ask:
                p = self.gates(h, layer - 1).view(n, m)
                runs = share_that_runs(p, "hard").bool() & real
            if active is not None:
                runs = active[layer - 1].to(ids.device) & real
            ran[layer - 1] = runs
            count = int(runs.sum())
            if count == n * m:
                h = dense(block, h, pos, rotary)
            elif count:
                h = sparse(block, h, runs, rotary)
        return SparseOutput(self.model.readout(h.view(n, m, -1)), ran)

    def _checked(
        self, ids: Tensor, real: Tensor | None, active: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Where the model is; all real if nothing is said."""
        if ids.ndim != 2 or ids.is_floating_point() or not ids.numel():
            raise InputError(
                f"ids are whole numbers [row, pos], at least one; got {tuple(ids.shape)}, {ids.dtype}."
            )
        context, outputs = self.model.context, len(self.decoder.embedding)
        if context is not None and ids.shape[1] > context:
            raise InputError(f"Rows of {ids.shape[1]} tokens; the context is {context}.")
        if int(ids.min()) < 0 or int(ids.max()) >= outputs:
            raise InputError(
                f"ids go from {int(ids.min())} to {int(ids.max())}; 0 to {outputs - 1} exist."
            )
        where = self.model.device
        real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        if real.shape != ids.shape or bool((real[:, 1:] & ~real[:, :-1]).any()):
            raise InputError("real has the shape of ids, and padding stands at the end of a row.")
        wanted = (len(self.gates.routers), *ids.shape)
        if active is not None and (active.shape != wanted or active.dtype != torch.bool):
            raise InputError(
                f"active is bool {list(wanted)}; got {tuple(active.shape)}, {active.dtype}."
            )
        return ids.to(where), real.to(where)


def dense(
    block: Block, h: Float[Tensor, "some d"], pos: Int[Tensor, "row pos"], rotary: Rotary | None
) -> Float[Tensor, "some d"]:
    """A block for every token."""
    n, m = pos.shape
    q, k, v = projected(block, h, len(h), pos.flatten(), rotary)
    q, k, v = (part.view(n, m, *part.shape[1:]) for part in (q, k, v))
    at = Places(None, pos, m, level=True)
    return added(block, h, attention(q, k, v, block.scale, at, block.window))


def sparse(
    block: Block, h: Float[Tensor, "some d"], runs: Bool[Tensor, "row pos"], rotary: Rotary | None
) -> Float[Tensor, "some d"]:
    """A block for the tokens that run; the others' states stay as they are."""
    n, m = runs.shape
    row, pos = runs.nonzero(as_tuple=True)
    place = torch.arange(m, device=runs.device)
    last = torch.where(runs, place, -1).amax(1)
    other_row, other_pos = (~runs & (place < last[:, None])).nonzero(as_tuple=True)
    mine = row * m + pos
    read = torch.cat([mine, other_row * m + other_pos])
    h_mine = h.index_select(0, mine)
    q, k, v = projected(block, h.index_select(0, read), len(mine), read % m, rotary)
    keys, values = (part.new_zeros(n * m, *part.shape[1:]) for part in (k, v))
    keys.index_copy_(0, read, k)
    values.index_copy_(0, read, v)
    z = ragged(
        block, q, keys.view(n, m, *k.shape[1:]), values.view(n, m, *v.shape[1:]), runs, row, pos
    )
    return h.index_copy(0, mine, added(block, h_mine, z))


def ragged(
    block: Block,
    q: Float[Tensor, "some head e"],
    keys: Float[Tensor, "row pos kv e"],
    values: Float[Tensor, "row pos kv e"],
    runs: Bool[Tensor, "row pos"],
    row: Int[Tensor, " some"],
    pos: Int[Tensor, " some"],
) -> Float[Tensor, "some all"]:
    """Attention of some queries of each row: put side by side, as many as the row with most has."""
    counts = runs.sum(1)
    some = counts.nonzero()[:, 0]
    if len(some) < len(counts):
        keys, values = keys.index_select(0, some), values.index_select(0, some)
    new_row = (counts > 0).cumsum(0)[row] - 1
    slot = (runs.cumsum(1) - 1)[row, pos]
    most = int(counts.max())
    padded = q.new_zeros(len(some), most, *q.shape[1:])
    padded[new_row, slot] = q
    stands = pos.new_zeros(len(some), most)  # padding reads position 0, and nobody reads it
    stands[new_row, slot] = pos
    at = Places(None, stands, keys.shape[1], level=False)
    z = attention(padded, keys, values, block.scale, at, block.window)
    return z.view(len(some), most, -1)[new_row, slot]


def projected(
    block: Block, h: Tensor, queries: int, pos: Int[Tensor, " some"], rotary: Rotary | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of the first states, keys and values of all, normed and turned as the block does."""
    q, k, v = block.project(block.norm_1(h), queries)
    q = q if block.q_norm is None else block.q_norm(q)
    k = k if block.k_norm is None else block.k_norm(k)
    if rotary is not None:
        cos, sin = rotary.at(pos)
        q = rotary.turn(q, (cos[:queries], sin[:queries]))
        k = rotary.turn(k, (cos, sin))
    return q, k, v


def added(
    block: Block, h: Float[Tensor, "some d"], z: Float[Tensor, "some all"]
) -> Float[Tensor, "some d"]:
    """The states with what attention and the MLP add."""
    middle = h + block.out(z)
    if block.mlp is None or block.norm_2 is None:
        return middle
    return middle + block.mlp(block.norm_2(h if block.parallel else middle))
