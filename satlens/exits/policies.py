"""The policies of the literature, each a signal that is held against a threshold: ``signal >= threshold``.

    SoftmaxResponse    p_1 - p_2 of the lens at h_l           Schuster et al. 2022 (CALM), Yom Din et al. 2023
    StateSaturation    cos(h_l, h_{l-1})                             the same
    StageExit          a probe says that stage 2 has begun           Lioubashevski et al. 2025
    Classifier         p(lens at h_l already has the final top-1)    CALM (`satlens.exits.agreement`)
    Patience           layers in a row with the same top-1           Zhou et al. 2020 (PABEE)
    FixedLayer         l itself: every token leaves after one block

A threshold is in the units of its signal, and a lower one lets tokens leave earlier.
``policy.at(threshold)`` is the same policy with another one.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from satlens.errors import InputError
from satlens.exits.policy import Peek
from satlens.exits.stage import LinearStage, stage_score
from satlens.exits.tables import top_one

Swept = TypeVar("Swept", bound="Thresholded")
"""In place of `typing.Self`, which tools that check shapes at run time do not know in a method alone."""
NEVER = -math.inf
"""A signal that reaches no threshold."""


class Thresholded(ABC):
    """What the policies below share; a subclass is a frozen dataclass with ``threshold`` and ``name``.

    Attributes:
        lowest, highest: the range of thresholds that mean something.
        whole: thresholds are whole numbers.
    """

    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    whole: ClassVar[bool] = False

    threshold: float
    name: str

    def __post_init__(self) -> None:
        self.check(self.threshold)

    def check(self, threshold: Any) -> None:
        """Refuse a threshold outside the range.

        Raises:
            InputError: with the range.
        """
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        fits = number and self.lowest <= threshold <= self.highest
        if not fits or (self.whole and threshold != int(threshold)):
            kind = "a whole number" if self.whole else "a number"
            top = "or more" if math.isinf(self.highest) else f"to {self.highest:g}"
            raise InputError(
                f"The threshold of {self.name!r} must be {kind}, {self.lowest:g} {top}; got {threshold!r}."
            )

    @abstractmethod
    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """How much there is to say for leaving here."""

    def limit(self, peek: Peek) -> float:
        """The threshold."""
        return float(self.threshold)

    def at(self: Swept, threshold: float) -> Swept:
        """The same policy with another threshold."""
        return dataclasses.replace(self, threshold=threshold)  # type: ignore[type-var]

    def cost(self, d_model: int) -> int:
        """Multiply-adds of one look at one token, beside scores that it reads."""
        return 0

    def __call__(self, peek: Peek) -> Bool[Tensor, " token"]:
        """Where the signal reaches the threshold."""
        return self.signal(peek) >= self.limit(peek)


def top_two_gap(scores: Float[Tensor, "token output"]) -> Float[Tensor, " token"]:
    """``p_1 - p_2``, float64, from ``p_2 / p_1`` and ``(1 - p_1) / p_1`` apart.

    In float32 all that is surer than 1 - 6e-8 would be equally sure, and lenses are sure of much too early.
    """
    kind = torch.promote_types(scores.dtype, torch.float32)
    top = scores.topk(2, dim=-1)
    rest = scores.to(kind, copy=True).scatter_(1, top.indices[:, :1], -torch.inf).logsumexp(-1)
    first, second = top.values.to(kind).unbind(-1)
    return -torch.expm1((second - first).double()) / (1 + (rest - first).double().exp())


@dataclass(frozen=True)
class SoftmaxResponse(Thresholded):
    """Leave when the lens prefers its first answer to its second by this much probability.

    Args:
        threshold: lambda, between 0 and 1.
        mean_length: M; then a token at position t leaves where
            ``p_1 - p_2 >= 0.9 lambda + 0.1 exp(-4 t / M)``, stricter at the beginning of a document.
            The signal is the largest lambda for which that is so.

    Source: CALM; the decay with the mean length in place of the longest one is that of
    Yom Din et al. 2023.
    """

    threshold: float = 0.9
    mean_length: float | None = None
    name: str = "softmax response"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean_length is not None and not 0 < self.mean_length < math.inf:
            raise InputError(f"mean_length must be above 0, got {self.mean_length!r}.")

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """``p_1 - p_2``, or the largest lambda that it reaches."""
        scores = peek.scores()
        if scores.shape[1] < 2:
            raise InputError(f"{self.name!r} compares two outputs; the model has one.")
        gap = top_two_gap(scores)
        if self.mean_length is None:
            return gap
        return (gap - 0.1 * torch.exp(-4.0 * peek.pos / self.mean_length)) / 0.9


@dataclass(frozen=True)
class StateSaturation(Thresholded):
    """Leave when a block has hardly turned the state: the cosine of the states before and after it.

    After block 0 nothing leaves: the embedding is not a layer. Source: CALM.
    """

    lowest: ClassVar[float] = -1.0
    threshold: float = 0.99
    name: str = "state saturation"

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """The cosine, at most 1."""
        if peek.before is None:
            return torch.full_like(peek.pos, NEVER, dtype=torch.float32)
        cosine = torch.cosine_similarity(peek.resid.float(), peek.before.float(), dim=-1)
        return cosine.clamp(max=1.0)

    def cost(self, d_model: int) -> int:
        """Three inner products."""
        return 3 * d_model


@dataclass(frozen=True)
class StageExit(Thresholded):
    """Leave when a probe says that stage 1 is over: the token at rank 1 is fixed.

    With ``f_i`` the probe's score of stage i,

        signal = sigmoid(max_{i >= 2} f_i - f_1),        threshold 0.5: the probe's own choice

    Args:
        probe: a fitted `satlens.StageProbe`, or any classifier with ``classes_`` (stages in ascending
            order) and ``decision_function`` or ``predict_proba``. A linear one is read once and costs
            one product of ``d * stages`` numbers afterwards.
        first: no token leaves before this layer (say, below the layers that the probe was fitted on).

    Where a probe has one regression a layer, nothing leaves at the layers that it has none for.

    Source: Lioubashevski et al. 2025 (their comparison of exits).
    """

    probe: Any
    threshold: float = 0.5
    first: int = 0
    name: str = "stage probe"
    _read: dict[Any, LinearStage | None] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first < 0:
            raise InputError(f"first must be 0 or more, got {self.first}.")
        linear = LinearStage.of(self.probe) if None not in self._read else self._read[None]
        self._read[None] = linear

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """Between 0 and 1, float64; `NEVER` before ``first`` and where the probe knows nothing."""
        if peek.layer < self.first:
            return torch.full_like(peek.pos, NEVER, dtype=torch.float64)
        linear = self._read[None]
        if linear is None:
            return stage_score(self.probe, peek.resid, peek.layer)
        device = peek.resid.device
        there = self._read.get(device)
        if there is None:
            there = self._read[device] = linear.to(device)
        return there.score(peek.resid, peek.layer)

    def cost(self, d_model: int) -> int:
        """One product with a row a stage."""
        return d_model * len(self.probe.classes_)


@dataclass(frozen=True)
class Patience(Thresholded):
    """Leave when the lens has had the same top-1 this many layers in a row, this one included.

    Source: Zhou et al. 2020 (PABEE), with the lens in place of trained classifiers.
    """

    lowest: ClassVar[float] = 1.0
    highest: ClassVar[float] = math.inf
    whole: ClassVar[bool] = True
    threshold: int = 3  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen)
    name: str = "patience"

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """Layers in a row, from 1."""
        top = top_one(peek.scores())
        length = torch.ones(len(top), device=top.device)
        if "top" in peek.memory:
            same = top == peek.memory["top"]
            length = torch.where(same, peek.memory["length"] + 1, length)
        peek.memory["top"], peek.memory["length"] = top, length
        return length


@dataclass(frozen=True)
class FixedLayer(Thresholded):
    """Every token leaves after block ``threshold``: what any policy must beat."""

    highest: ClassVar[float] = math.inf
    whole: ClassVar[bool] = True
    threshold: int = 0  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen)
    name: str = "fixed layer"

    def signal(self, peek: Peek) -> Float[Tensor, " token"]:
        """The layer."""
        return torch.full_like(peek.pos, peek.layer, dtype=torch.float32)


@dataclass(frozen=True)
class Never:
    """No token leaves before the last block: the full model."""

    name: str = "never"

    def cost(self, d_model: int) -> int:
        """It does not look."""
        return 0

    def __call__(self, peek: Peek) -> Bool[Tensor, " token"]:
        """False."""
        return torch.zeros(len(peek.resid), dtype=torch.bool, device=peek.resid.device)
