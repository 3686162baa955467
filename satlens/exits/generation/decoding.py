"""Decoding step by step: rows leave where the policy says, and what is left of the blocks is not computed.

    h = embedding of the last token
    for l = 0 .. L-1:    h = block_l(h), only rows still here; those that the policy picks leave with h
    next token = the lens at the state that each row left with

A row that left owes its keys and values in the blocks above (`satlens.exits.decoder.cache`). Rows are
independent: they may stand at different positions and leave after different blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from satlens.exits.decoder.cache import Cache
from satlens.exits.decoder.decoder import Decoder, Places
from satlens.exits.decoder.parts import Rotary
from satlens.exits.generation.answers import Exits
from satlens.exits.policy import Peek, Policy, leaving


@dataclass(eq=False)
class Stepper:
    """Some sequences of one decoder, on their way.

    Attributes:
        lens: what a policy may read: ``lens(resid, layer)``.
        pos: the position of the next token of each row.
        blocks: blocks computed so far for tokens behind the prompts, a row counting one.
    """

    decoder: Decoder
    policy: Policy | None
    lens: Callable[[Tensor, int], Tensor]
    cache: Cache
    rotary: Rotary | None
    pos: Int[Tensor, " row"]
    blocks: int = 0
    states: list[Tensor] = field(default_factory=list)
    """After each block, of the rows that came so far, of the last step that was asked to keep them."""

    @staticmethod
    def of(
        decoder: Decoder,
        policy: Policy | None,
        lens: Callable[[Tensor, int], Tensor],
        prompts: list[Tensor],
        room: int,
    ) -> "Stepper":
        """Ready for these prompts and ``room`` more positions behind the longest."""
        device = decoder.embedding.device
        lengths = torch.tensor([len(ids) for ids in prompts], device=device)
        length = int(lengths.max()) + room
        rotary = None if decoder.tables is None else decoder.tables(length)
        cache = decoder.cache(len(prompts), length)
        return Stepper(decoder, policy, lens, cache, rotary, lengths)

    def places(self, pos: Int[Tensor, "row m"]) -> Places:
        """All rows, at these positions."""
        low, high = (int(end) for end in pos[:, -1].aminmax())
        angles = None if self.rotary is None else self.rotary.at(pos.flatten())
        return Places(None, pos, high + 1, low == high, angles)

    def prompt(self, prompts: list[Tensor]) -> Exits:
        """The whole model over the prompts, all at once; padding stands behind, where no row looks."""
        device = self.decoder.embedding.device
        ids = pad_sequence(prompts, batch_first=True).to(device)
        pos = torch.arange(ids.shape[1], device=device).expand(*ids.shape)
        h = self.run(self.decoder.embed(ids, pos), pos)
        last = h[torch.arange(len(h), device=device), self.pos - 1]
        return self.full(last)

    def full(self, resid: Float[Tensor, "row d"]) -> Exits:
        """States of the last layer."""
        layer = self.decoder.n_layers - 1
        return Exits(resid, torch.full((len(resid),), layer), ((layer, None),))

    def run(
        self,
        h: Float[Tensor, "row m d"],
        pos: Int[Tensor, "row m"],
        first: int = 0,
        last: int | None = None,
    ) -> Float[Tensor, "row m d"]:
        """Blocks ``first .. last - 1``, all rows, no policy."""
        at, flat = self.places(pos), h.flatten(0, 1)
        for layer in range(first, self.decoder.n_layers if last is None else last):
            flat = self.decoder.blocks[layer](flat, at, self.cache, layer, self.rotary)
        return flat.view(h.shape)

    def step(self, ids: Int[Tensor, " row"], keep: bool = False) -> Exits:
        """The next position of every row, as far as the policy lets it go; ``keep`` keeps `states`."""
        h, at = self.decoder.embed(ids, self.pos), self.places(self.pos[:, None])
        self.pos = self.pos + 1
        self.states = []
        if self.policy is None:
            self.blocks += len(ids) * self.decoder.n_layers
            for layer, block in enumerate(self.decoder.blocks):
                h = block(h, at, self.cache, layer, self.rotary)
            return self.full(h)
        return self._asking(h, at, self.policy, keep)

    def _asking(self, h: Tensor, at: Places, policy: Policy, keep: bool) -> Exits:
        n_rows, n_layers = len(h), self.decoder.n_layers
        out = torch.empty_like(h)
        groups: list[tuple[int, Tensor | None]] = []
        memory: dict[str, Tensor] = {}
        before = None
        for layer, block in enumerate(self.decoder.blocks):
            h = block(h, at, self.cache, layer, self.rotary)
            self.blocks += len(h)
            if keep:
                self.states.append(h.clone())
            if layer == n_layers - 1:
                groups.append((layer, at.rows))
                _put(out, at.rows, h)
                break
            leave = leaving(policy, self._peek(layer, h, before, at, memory)).to(h.device)
            before = h
            if not any(leave.tolist()):
                continue
            going = leave.nonzero()[:, 0]
            rows = at.rows if len(going) == len(h) else _some(at.rows, going)
            groups.append((layer, rows))
            gone = h[going]
            _put(out, rows, gone)
            self.cache.owe(layer + 1, rows, at.where[1][going], gone)
            if len(going) == len(h):
                break
            stay = (~leave).nonzero()[:, 0]
            memory = {
                name: value[stay] if value.ndim and len(value) == len(h) else value
                for name, value in memory.items()
            }
            h, before, at = h[stay], before[stay], at.keep(stay)
        layer_of = torch.empty(n_rows, dtype=torch.long)
        for layer, rows in groups:
            _put(layer_of, None if rows is None else rows.cpu(), layer)
        return Exits(out, layer_of, tuple(groups))

    def _peek(
        self,
        layer: int,
        h: Tensor,
        before: Tensor | None,
        at: Places,
        memory: dict[str, Tensor],
    ) -> Peek:
        """What a policy sees of the rows still here. It may write into it: copies, and the states before the
        block, which nothing else needs any more.
        """
        return Peek(
            layer=layer,
            n_layers=self.decoder.n_layers,
            resid=h.clone(),
            before=before,
            pos=at.where[1].clone(),
            lens=self.lens,
            memory=memory,
        )

    def drop(self, stay: Int[Tensor, " kept"]) -> None:
        """Only these rows go on."""
        self.cache.keep(stay)
        self.pos = self.pos[stay]


def _some(rows: Tensor | None, index: Tensor) -> Tensor:
    return index if rows is None else rows[index]


def _put(out: Tensor, rows: Tensor | None, values: Tensor | int) -> None:
    """Into these rows of ``out``; None for all."""
    if rows is None:
        out[:] = values
    else:
        out[rows] = values
