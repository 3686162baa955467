"""What gates are trained and measured on: rows of token ids, each with the token to be said next.

    loss = mean of -log softmax(logits[row, pos])[target[row, pos]]      over the positions that are scored

A source gives the rows of any step from the seed and the number of the step alone, so that a run which was
stopped and goes on reads what an undisturbed one reads.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from satlens.errors import InputError, ModelError
from satlens.models.protocol import Batch, ResidualModel

NOT_SCORED = -100
"""A target that counts in no loss."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of one batch.

    Attributes:
        ids: what the model reads.
        target: what should come next at each position; `NOT_SCORED` where nothing is asked.
        real: False at padding, which must stand at the end of a row; all True if not given.
        doc: the document of each row, the unit of intervals; every row its own if not given.

    Raises:
        InputError: shapes or types that do not fit, or padding in front of something real.

    Example:
        >>> Examples(torch.tensor([[5, 6, 7]]), torch.tensor([[6, 7, NOT_SCORED]])).n_scored
        2
    """

    ids: Int[Tensor, "row pos"]
    target: Int[Tensor, "row pos"]
    real: Bool[Tensor, "row pos"] | None = None
    doc: Int[Tensor, " row"] | None = None

    def __post_init__(self) -> None:
        given = [("target", self.target), ("real", self.real)]
        for name, one in given:
            if one is not None and (one.shape != self.ids.shape or one.ndim != 2):
                raise InputError(
                    f"ids are [row, pos] and {name} has their shape; got {tuple(self.ids.shape)} and "
                    f"{tuple(one.shape)}."
                )
        if self.ids.dtype != torch.int64 or self.target.dtype != torch.int64:
            raise InputError(
                f"ids and target are int64; got {self.ids.dtype} and {self.target.dtype}."
            )
        if self.doc is not None and self.doc.shape != self.ids.shape[:1]:
            raise InputError(
                f"doc has one number a row ({len(self.ids)}); got {tuple(self.doc.shape)}."
            )
        real = self.real
        if real is not None and bool((real[:, 1:] & ~real[:, :-1]).any()):
            raise InputError("Padding stands at the end of a row; found some in front of a token.")

    @property
    def n_scored(self) -> int:
        """Positions with a target."""
        return int((self.target != NOT_SCORED).sum())

    @property
    def counts(self) -> Bool[Tensor, "row pos"]:
        """True at everything but padding."""
        return torch.ones_like(self.ids, dtype=torch.bool) if self.real is None else self.real

    def batch(self, model: ResidualModel) -> Batch:
        """As the model reads it.

        Raises:
            ModelError: a model that does not read text. InputError: rows it cannot read.
        """
        if model.reads != "text":
            raise ModelError(
                f"Routing is trained on token ids; {model.name} reads {model.reads}. Put gates on it by "
                "hand (TokenGates.attached) instead."
            )
        if model.context is not None and self.ids.shape[1] > model.context:
            raise InputError(
                f"Rows of {self.ids.shape[1]} tokens; the context of {model.name} is {model.context}."
            )
        where = model.device
        ids, real = self.ids.to(where), self.counts.to(where)
        rows = torch.arange(len(ids), device=where)
        return Batch(
            args={"input_ids": ids, "attention_mask": real.long()},
            real=real,
            doc=rows if self.doc is None else self.doc.to(where),
            start=torch.zeros_like(rows),
            tokens=ids,
        )


Source = Callable[[int], Examples]
"""The rows of step 0, 1, ...: a function of the step alone."""


def scores(
    logits: Float[Tensor, "row pos output"], examples: Examples
) -> tuple[Float[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """-log p of every target in nats (0 where none is scored), and whether the top answer is the target."""
    target = examples.target.to(logits.device)
    nats = F.cross_entropy(
        logits.float().flatten(0, 1),
        target.flatten(),
        ignore_index=NOT_SCORED,
        reduction="none",
    )
    return nats.view_as(target), logits.detach().argmax(-1) == target


def step_seed(seed: int, step: int) -> np.random.Generator:
    """The generator of one step."""
    return np.random.default_rng((seed, step))


def crops(text: Int[Tensor, " token"], batch_size: int, context: int, seed: int = 0) -> Source:
    """Random pieces of one long text, every next token scored.

    Raises:
        InputError: a text no longer than the context.

    Example:
        >>> draw = crops(torch.arange(100), batch_size=2, context=5, seed=1)
        >>> one = draw(7)
        >>> bool((one.target == one.ids + 1).all()), bool((draw(7).ids == one.ids).all())
        (True, True)
    """
    if text.ndim != 1 or len(text) <= context:
        raise InputError(
            f"A text of {tuple(text.shape)} tokens has no piece of {context} with the token behind it."
        )

    def draw(step: int) -> Examples:
        start = step_seed(seed, step).integers(0, len(text) - context, size=batch_size)
        rows = torch.stack([text[first : first + context + 1] for first in start.tolist()])
        return Examples(rows[:, :-1], rows[:, 1:])

    return draw


def pieces(
    text: Int[Tensor, " token"], batch_size: int, context: int, limit: int | None = None
) -> list[Examples]:
    """A text cut into rows side by side, each its own unit of intervals; the rest at its end is left out.

    Args:
        limit: at most this many rows, spread over the text.

    Example:
        >>> [one.ids.tolist() for one in pieces(torch.arange(8), 2, 3)]
        [[[0, 1, 2], [3, 4, 5]]]
    """
    n = (len(text) - 1) // context
    if n < 1:
        raise InputError(f"A text of {len(text)} tokens has no piece of {context}.")
    chosen = np.arange(n)
    if limit is not None and limit < n:
        chosen = np.linspace(0, n - 1, limit).round().astype(int)
    rows = torch.stack([text[i * context : (i + 1) * context + 1] for i in chosen.tolist()])
    docs = torch.arange(len(rows))
    return [
        Examples(
            rows[i : i + batch_size, :-1],
            rows[i : i + batch_size, 1:],
            doc=docs[i : i + batch_size],
        )
        for i in range(0, len(rows), batch_size)
    ]


def fingerprint(source: Source) -> str:
    """SHA-256 of the first rows: another source, or another seed of it, has another."""
    first = source(0)
    raw = first.ids.cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(raw + first.target.cpu().contiguous().numpy().tobytes()).hexdigest()
