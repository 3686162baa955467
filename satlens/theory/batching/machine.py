"""What a step of a batch takes, and how much memory there is for keys and values.

A step takes the last token of every sequence of the batch through the blocks. Token i leaves after block e_i,
attends to n_i positions, and makes the keys and values that skipped positions of its sequence still owe:

    time = once[max_i e_i] + sum_i ( row[e_i] + pair[e_i] n_i + sum_{l <= e_i} kv[l] due_il )

    once   what is done once for the whole batch, as deep as its deepest token: the weights are read
    row    multiplied for each token that is still there; rows that left are taken out
    due    positions that left before block l, and were not needed there until now

    prompts together:  time = prompts + sum_i ( position P_i + pair[L-1] P_i (P_i + 1) / 2 + answer )

Counted in multiply-adds (`satlens.exits.Costs`): reading a weight takes as long as ``reading`` multiply-adds,
so a batch of fewer rows waits for the memory. D(e) is what deciding costs (`Costs.deciding`), a, b as there:

    row = A + D,  A = cumsum a        once = reading (A + D)        pair = cumsum b        position = A(L-1)

A position holds keys and values of ALL L blocks, whatever it left after: `satlens.exits.generate` makes room
for every block when a batch begins. So memory is counted in positions, each ``2 L kv_heads d_head`` numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.errors import InputError
from satlens.exits.cost import Costs
from satlens.exits.decoder.hosts import decoder_of
from satlens.models.wrap import wrap


@dataclass(frozen=True, eq=False)
class Clock:
    """Seconds (or any other unit) of what a batch does; arrays by layer.

    Attributes:
        once, row, pair, kv, prompts, position, answer: as in the formula of the module.
        looking: a position of a prompt, where something is predicted from it before it runs.
    """

    once: Float[ndarray, " layer"]
    row: Float[ndarray, " layer"]
    pair: Float[ndarray, " layer"]
    kv: Float[ndarray, " layer"]
    prompts: float
    position: float
    answer: float = 0.0
    looking: float = 0.0

    def __post_init__(self) -> None:
        for name in ("once", "row", "pair", "kv"):
            object.__setattr__(self, name, np.array(getattr(self, name), float))
        shapes = {getattr(self, name).shape for name in ("once", "row", "pair", "kv")}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(f"A clock has one number a layer in each array; got {sorted(shapes)}.")
        for name in ("once", "row", "pair", "kv", "prompts", "position", "answer", "looking"):
            values = np.asarray(getattr(self, name))
            if not (np.isfinite(values) & (values >= 0)).all():
                raise InputError(f"Clock.{name} must be numbers of 0 or more; got {values}.")

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return len(self.once)

    @staticmethod
    def counted(
        costs: Costs,
        *,
        reading: float,
        scored: float = 0.0,
        own: float = 0.0,
        speed: float = 1e9,
        look_at: int | None = None,
    ) -> "Clock":
        """From multiply-adds.

        Args:
            costs: of the model and its lens (`satlens.exits.measure`), or given.
            reading: multiply-adds that take as long as reading one weight; 0 where batches are so large
                that reading does not matter, about 100 for few rows on a GPU.
            scored: 1 for a policy that reads scores after every block, 0 for one that does not.
            own: multiply-adds of the policy's own look (``policy.cost(d_model)``).
            speed: multiply-adds a second.
            look_at: the layer whose state predictions are made from; its blocks are then paid once more for
                each position of a prompt.

        Example:
            >>> costs = Costs([100.0] * 4, [0.0] * 4, [20.0] * 4, [10.0] * 4)
            >>> Clock.counted(costs, reading=2, speed=1).once.tolist()
            [220.0, 420.0, 620.0, 820.0]
        """
        if not (0 <= reading < np.inf and 0 < speed < np.inf):
            raise InputError(
                f"reading must be 0 or more and speed above 0; got {reading!r} and {speed!r}."
            )
        if look_at is not None and not 0 <= look_at < len(costs):
            raise InputError(f"look_at must be a layer, 0 .. {len(costs) - 1}; got {look_at!r}.")
        blocks = np.cumsum(costs.per_token)
        row = blocks + costs.deciding(np.full(len(costs) - 1, float(scored)), own)
        head = costs.look[-1]
        return Clock(
            once=reading * row / speed,
            row=row / speed,
            pair=np.cumsum(costs.per_pair) / speed,
            kv=costs.kv / speed,
            prompts=reading * (blocks[-1] + head) / speed,
            position=blocks[-1] / speed,
            answer=head / speed,
            looking=0.0 if look_at is None else blocks[look_at] / speed,
        )

    def work(
        self, exits: Int[ndarray, " token"], prompt: int, done: int = 1
    ) -> Float[ndarray, " token-{done}"]:
        """What each token from number ``done`` on takes beside ``once``.

        Those before it were made, and their keys and values are there in every block: the prompt and they ran
        through the whole model.

        >>> clock = Clock([0.0] * 3, [1.0, 2.0, 3.0], [0.0] * 3, [0.0, 0.1, 0.1], 0, 0)
        >>> clock.work(np.array([2, 0, 0, 2]), prompt=4).round(3).tolist()
        [1.0, 1.0, 3.4]
        """
        own = exits[done:]
        work = self.row[own] + self.pair[own] * (prompt + np.arange(done, len(exits)))
        token = np.arange(len(own))[:, None]
        comes = own[:, None] >= np.arange(len(self.kv))
        # The last token before this one that came to the block; those between left below it.
        last = np.maximum.accumulate(np.where(comes, token, -1))
        due = token - np.concatenate([np.full((1, len(self.kv)), -1), last[:-1]])[: len(own)] - 1
        return work + np.where(comes, due, 0) @ self.kv

    def prompt(self, positions: int) -> float:
        """What a prompt takes beside ``prompts``."""
        pairs = positions * (positions + 1) / 2
        return self.position * positions + float(self.pair[-1]) * pairs + self.answer


@dataclass(frozen=True, eq=False)
class Machine:
    """One model on one machine.

    Attributes:
        memory: positions that there is room for, each with keys and values of every block.
        rows: sequences that run together at most.
        most: new tokens that a request may ask for at most.
        position_bytes: of the keys and values of one position, for reports; 0 if not known.
    """

    clock: Clock
    memory: int
    rows: int
    most: int
    position_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("memory", "rows", "most"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} must be a whole number, 1 or more; got {value!r}.")


def position_bytes(model: Any) -> int:
    """Bytes of the keys and values of one position in all blocks, ``2 L kv_heads d_head`` numbers.

    Raises:
        ModelError: a model that `satlens.exits.generate` does not know.

    Example:
        >>> import satlens
        >>> position_bytes(satlens.load_model("tiny"))
        16384
    """
    decoder = decoder_of(wrap(model))
    numbers = 2 * decoder.n_layers * decoder.kv_heads * decoder.d_head
    return numbers * decoder.embedding.element_size()
