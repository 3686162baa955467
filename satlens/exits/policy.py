"""What a policy is: after each block it says which tokens leave there.

    after block l:   leave = policy(Peek(l, h_l, h_{l-1}, position, lens))        one boolean a token

A policy sees a `Peek` and nothing else: no later layer, no output of the full model, no next token. A token
that leaves after block l is answered by the lens at h_l; after the last block every token leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from satlens.errors import InputError

Swept = TypeVar("Swept", bound="ThresholdPolicy")
"""In place of `typing.Self`, which tools that check shapes at run time do not know in a method alone."""


@dataclass(eq=False)
class Peek:
    """All that a policy may see of some tokens after one block.

    Attributes:
        layer: the block that has just run, ``0 .. n_layers - 2``.
        resid: the states after it. ``before``: after the block before; None after block 0.
        pos: the position of each token in its document.
        lens: reads scores off a state: ``lens(resid, layer)``.
        memory: what this policy noted of the same tokens at earlier layers, rows in the same order; its own.
    """

    layer: int
    n_layers: int
    resid: Float[Tensor, "token d"]
    before: Float[Tensor, "token d"] | None
    pos: Int[Tensor, " token"]
    lens: Callable[[Tensor, int], Tensor]
    memory: dict[str, Tensor] = field(default_factory=dict)
    _scores: Tensor | None = None

    def scores(self) -> Float[Tensor, "token output"]:
        """The lens at these states, computed when first asked for: one product with the whole vocabulary."""
        if self._scores is None:
            self._scores = self.lens(self.resid, self.layer)
        return self._scores

    @property
    def scored(self) -> bool:
        """Whether the policy asked for scores, which is what it costs most."""
        return self._scores is not None


@runtime_checkable
class Policy(Protocol):
    """Any callable with a name. ``True``: the token leaves after this block.

    It may say what a look costs it beside scores: ``cost(d_model)``, multiply-adds a token and block.
    """

    @property
    def name(self) -> str:
        """For tables and messages."""
        ...

    def __call__(self, peek: Peek) -> Bool[Tensor, " token"]:
        """Which of the tokens leave."""
        ...


@runtime_checkable
class ThresholdPolicy(Policy, Protocol):
    """A policy that leaves where a signal reaches a threshold: ``signal >= limit(threshold)``.

    The signal does not depend on the threshold, so one pass serves a whole sweep of them.
    """

    @property
    def threshold(self) -> float:
        """Where the signal is enough."""
        ...

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """How much there is to say for leaving here."""
        ...

    def limit(self, peek: Peek) -> Float[Tensor, " token"] | float:
        """What the signal has to reach; the threshold itself unless it changes with position."""
        ...

    def at(self: Swept, threshold: float) -> Swept:
        """The same policy with another threshold."""
        ...


def leaving(policy: Policy, peek: Peek) -> Bool[Tensor, " token"]:
    """What a policy says, checked: one boolean a token.

    Raises:
        InputError: it returned something else.
    """
    said = policy(peek)
    wanted = (len(peek.resid),)
    if not isinstance(said, Tensor) or said.dtype != torch.bool or tuple(said.shape) != wanted:
        found = (
            f"{said.dtype} of shape {tuple(said.shape)}"
            if isinstance(said, Tensor)
            else type(said).__name__
        )
        raise InputError(
            f"The policy {name_of(policy)!r} must return one boolean a token, a torch.bool tensor of shape "
            f"{wanted}; after block {peek.layer} it returned {found}."
        )
    return said


def name_of(policy: Policy) -> str:
    """The name of a policy, or of the function that it is."""
    return getattr(policy, "name", None) or getattr(policy, "__name__", type(policy).__name__)
