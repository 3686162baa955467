"""Policies that look at the states of a full forward pass, layer by layer, each with arrays of its own.

A sweep of thresholds costs one signal: the first layer at which it reaches the limit,

    e(t) = min { l <= L-2 : signal_l >= limit_l(t) },        L-1 where it never does

A policy that is no `ThresholdPolicy` is asked as it is. Nothing that a policy is given is shared with
another one or with what it is judged by: it may write into all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.errors import InputError, NumericsError, SatlensError
from satlens.exits.policy import Peek, Policy, ThresholdPolicy, leaving, name_of
from satlens.lenses import Lens

P = TypeVar("P", bound=Policy)
Said = TypeVar("Said")


@dataclass
class Reader:
    """The lens as one policy may use it: every reading is its own, and is counted.

    Attributes:
        read: states read so far at each layer.
    """

    scores_at: "Scores"
    read: dict[int, int] = field(default_factory=dict)

    def __call__(
        self, resid: Float[Tensor, "token d"], layer: int
    ) -> Float[Tensor, "token output"]:
        """The lens at these states."""
        self.read[layer] = self.read.get(layer, 0) + len(resid)
        return self.scores_at(resid, layer)


class Scores:
    """A lens that remembers its last reading, so that policies that ask for the same share the product.

    Each gets a copy.
    """

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        self._of: Tensor | None = None
        self._layer = -1
        self._scores: Tensor | None = None

    def keep(self, resid: Float[Tensor, "token d"], layer: int, scores: Tensor) -> None:
        """These scores belong to these states."""
        self._of, self._layer, self._scores = resid, layer, scores

    def __call__(
        self, resid: Float[Tensor, "token d"], layer: int
    ) -> Float[Tensor, "token output"]:
        """A copy of what is remembered, or a new reading."""
        kept, scores = self._of, self._scores
        if kept is None or scores is None or layer != self._layer or kept.shape != resid.shape:
            return self.lens.scores(resid, layer)
        if torch.equal(kept, resid):
            return scores.clone()
        return self.lens.scores(resid, layer)


@dataclass(frozen=True, eq=False)
class Family:
    """One policy at several thresholds; or one policy alone, if it has none.

    Attributes:
        places: where its members stand in the list of policies.
    """

    policy: Policy
    members: tuple[Policy, ...]
    places: tuple[int, ...]

    @property
    def swept(self) -> bool:
        """Whether one signal serves all members."""
        return isinstance(self.policy, ThresholdPolicy)


def families(policies: Sequence[Policy]) -> list[Family]:
    """Policies that differ in their threshold only, together.

    Raises:
        InputError: nothing callable, the same policy twice, or two different ones of one name.
    """
    if not policies:
        raise InputError("No policies to evaluate: pass at least one, e.g. [SoftmaxResponse(0.9)].")
    found: list[list[int]] = []
    for place, policy in enumerate(policies):
        if not callable(policy):
            raise InputError(f"A policy is a callable; number {place} is {type(policy).__name__}.")
        for group in found:
            if _alike(policies[group[0]], policy):
                group.append(place)
                break
        else:
            found.append([place])
    made = [
        Family(policies[group[0]], tuple(policies[i] for i in group), tuple(group))
        for group in found
    ]
    names = [name_of(family.policy) for family in made]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"Two different policies are named {name!r}: give one of them another name, so that "
                "their numbers can be told apart."
            )
    for family in made:
        thresholds = [getattr(member, "threshold", None) for member in family.members]
        if len(set(thresholds)) < len(thresholds):
            raise InputError(
                f"The policy {name_of(family.policy)!r} is in the list twice at one threshold: {thresholds}."
            )
    return made


def _alike(one: Policy, other: Policy) -> bool:
    """Whether two policies are one at two thresholds."""
    if not (isinstance(one, ThresholdPolicy) and isinstance(other, ThresholdPolicy)):
        return False
    if type(one) is not type(other):
        return False
    try:
        return bool(other.at(one.threshold) == one)
    except (RuntimeError, ValueError):  # a field whose == is no single answer, such as a tensor
        return False


class Looking:
    """The exits of one family in one batch, told layer by layer.

    Attributes:
        exit: ``[member, token]`` the layer at which each token left, L-1 until it has.
        reader: counts what it reads through the lens.
    """

    def __init__(
        self, family: Family, n_tokens: int, n_layers: int, scores: Scores, device: torch.device
    ) -> None:
        self.family, self.n_layers = family, n_layers
        shape = (len(family.members), n_tokens)
        self.exit: Int[Tensor, "member token"] = torch.full(shape, n_layers - 1, device=device)
        self.reader = Reader(scores)
        self._memory: dict[str, Tensor] = {}

    def look(
        self,
        layer: int,
        resid: Float[Tensor, "token d"],
        before: Float[Tensor, "token d"] | None,
        pos: Int[Tensor, " token"],
    ) -> None:
        """Let it look at the states after one block (copied here)."""
        peek = Peek(
            layer, self.n_layers, resid.clone(), None if before is None else before.clone(),
            pos.clone(), self.reader, self._memory,
        )  # fmt: skip
        if self.family.swept:
            swept = cast(tuple[ThresholdPolicy, ...], self.family.members)
            signal = signal_of(swept[0], peek)
            leave = torch.stack([signal >= limit_of(one, peek) for one in swept])
        else:
            leave = guarded(leaving, self.family.policy, peek)[None]
        self._memory = peek.memory
        self.exit[leave & (self.exit == self.n_layers - 1)] = layer


def signal_of(policy: ThresholdPolicy, peek: Peek) -> Float[Tensor, " token"]:
    """A policy's signal, checked: one number a token, none of them NaN.

    Raises:
        InputError: something else came back, or the policy raised. NumericsError: NaN.
    """
    said = guarded(lambda policy, peek: policy.signal(peek), policy, peek)
    wanted = (len(peek.resid),)
    if not isinstance(said, Tensor) or tuple(said.shape) != wanted or said.dtype == torch.bool:
        tensor = isinstance(said, Tensor)
        found = f"{said.dtype} of shape {tuple(said.shape)}" if tensor else type(said).__name__
        raise InputError(
            f"The signal of {name_of(policy)!r} must be one number a token, a tensor of shape {wanted}; "
            f"after block {peek.layer} it was {found}."
        )
    if said.isnan().any():
        raise NumericsError(
            f"The signal of {name_of(policy)!r} is NaN for {int(said.isnan().sum())} of {len(said)} "
            f"tokens after block {peek.layer}: its states hold NaN or overflow, or the policy divides by 0."
        )
    return said


def limit_of(policy: ThresholdPolicy, peek: Peek) -> Tensor | float:
    """What the signal has to reach: one number, or one a token."""
    said = guarded(lambda policy, peek: policy.limit(peek), policy, peek)
    if isinstance(said, Tensor) and tuple(said.shape) not in ((), (len(peek.resid),)):
        raise InputError(
            f"The limit of {name_of(policy)!r} must be one number, or one a token ({len(peek.resid)}); "
            f"after block {peek.layer} it had shape {tuple(said.shape)}."
        )
    return said


def guarded(ask: Callable[[P, Peek], Said], policy: P, peek: Peek) -> Said:
    """Ask a policy; whatever goes wrong inside it is told with its name and the layer."""
    try:
        return ask(policy, peek)
    except SatlensError:
        raise
    except Exception as cause:
        raise InputError(
            f"The policy {name_of(policy)!r} failed after block {peek.layer} "
            f"({type(cause).__name__}: {cause})."
        ) from cause
