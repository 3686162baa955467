"""Requests to generate text, and when they come.

    request i:   arrives at a_i,   a prompt of P_i positions,   then T_i tokens
    token k leaves after block e_ik;   e_i0 = L - 1: the first one comes with the prompt, from the whole model
    depth_i = mean over k >= 1 of (e_ik + 1)       the blocks of a token that may leave early

Arrivals, n requests at a mean of ``rate`` a unit of time:

    all at once     all at time 0
    poisson         gaps Exp(1 / rate)
    bursts          groups of geometric size, mean m, each at one instant; gaps between groups Exp(m / rate)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError

BURST = 8
"""Mean number of requests that come together in "bursts"."""


@dataclass(frozen=True, eq=False)
class Requests:
    """What is asked, by request; and, for a simulation, what will be answered.

    Attributes:
        prompt: positions of each prompt, a BOS included.
        exits: of each request, the layer that each of its tokens leaves after; the first is ``n_layers - 1``.
        arrival: when each comes; at 0 if not given.
        predicted_depth: what is believed of ``depth`` before a request runs, or None.
        predicted_length: what is believed of ``length``, or None.

    Example:
        >>> asked = Requests([5, 3], [[7, 1, 3], [7]], n_layers=8)
        >>> asked.length.tolist(), asked.depth.tolist()
        ([3, 1], [3.0, 8.0])
    """

    prompt: Int[ndarray, " request"]
    exits: tuple[Int[ndarray, " _token"], ...]
    n_layers: int
    arrival: Float[ndarray, " request"] = cast(ndarray, None)
    predicted_depth: Float[ndarray, " request"] | None = None
    predicted_length: Float[ndarray, " request"] | None = None

    def __post_init__(self) -> None:
        exits = tuple(np.array(own, int) for own in self.exits)
        object.__setattr__(self, "exits", exits)
        object.__setattr__(self, "prompt", np.array(self.prompt, int))
        n = len(exits)
        if not n or self.prompt.shape != (n,) or (self.prompt < 1).any():
            raise InputError(
                f"Requests need a prompt of 1 position or more and exits for each; got {n} lists of exits "
                f"and prompts of shape {self.prompt.shape}."
            )
        last = self.n_layers - 1
        for index, own in enumerate(exits):
            if own.ndim != 1 or not len(own) or own.min() < 0 or own.max() > last or own[0] != last:
                raise InputError(
                    f"Request {index} needs one exit layer a token, 0 .. {last}, of which the first is "
                    f"{last}: it comes with the prompt, which runs through the whole model. Got "
                    f"{own.tolist()[:8]}."
                )
        if self.arrival is None:
            object.__setattr__(self, "arrival", np.zeros(n))
        for name in ("arrival", "predicted_depth", "predicted_length"):
            given = getattr(self, name)
            if given is None:
                continue
            values = np.array(given, float)
            if values.shape != (n,) or not np.isfinite(values).all():
                raise InputError(f"{name} must be one finite number a request, {n}; got {given!r}.")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.exits)

    @property
    def length(self) -> Int[ndarray, " request"]:
        """New tokens of each request."""
        return np.array([len(own) for own in self.exits])

    @property
    def depth(self) -> Float[ndarray, " request"]:
        """Mean blocks of the tokens behind the first one; ``n_layers`` where there is none."""
        return np.array(
            [own[1:].mean() + 1 if len(own) > 1 else self.n_layers for own in self.exits], float
        )

    @staticmethod
    def of(generation: Any) -> "Requests":
        """The requests that a `satlens.exits.Generation` answered."""
        return Requests(
            np.array([len(prompt) for prompt in generation.prompts]),
            tuple(layers.numpy() for layers in generation.exit_layer),
            generation.n_layers,
        )

    def take(self, index: Int[ndarray, " kept"]) -> "Requests":
        """Some of them, in this order, arrivals and predictions with them."""
        named: dict[str, Any] = {
            name: None if (own := getattr(self, name)) is None else own[index]
            for name in ("arrival", "predicted_depth", "predicted_length")
        }
        exits = tuple(self.exits[i] for i in index)
        return Requests(self.prompt[index], exits, self.n_layers, **named)

    def at(self, arrival: Float[ndarray, " request"]) -> "Requests":
        """The same requests at other times."""
        return replace(self, arrival=arrival)

    def predicted(
        self,
        depth: Float[ndarray, " request"] | None = None,
        length: Float[ndarray, " request"] | None = None,
    ) -> "Requests":
        """With these predictions in place of those they have; None keeps one."""
        return replace(
            self,
            predicted_depth=self.predicted_depth if depth is None else depth,
            predicted_length=self.predicted_length if length is None else length,
        )

    def shuffled(self, seed: int = DEFAULT_SEED) -> "Requests":
        """The null: the same predictions, each with a request drawn at random."""
        order = np.random.default_rng(seed).permutation(len(self))
        depth, length = self.predicted_depth, self.predicted_length
        return self.predicted(
            None if depth is None else depth[order], None if length is None else length[order]
        )

    def between(self) -> float:
        """The share of the variance of exit layers that lies between requests: what knowing every request's
        depth exactly can tell of a token's; NaN if all leave after the same block.

        >>> Requests([1, 1], [[3, 0, 0], [3, 2, 2]], n_layers=4).between()
        1.0
        """
        later = [own[1:] for own in self.exits if len(own) > 1]
        if not later:
            return float("nan")
        every = np.concatenate(later).astype(float)
        means = np.concatenate([np.full(len(own), own.mean()) for own in later])
        total = every.var()
        return float(means.var() / total) if total > 0 else float("nan")


def all_at_once(n: int, rate: float, seed: int = DEFAULT_SEED) -> Float[ndarray, " request"]:
    """All at time 0, whatever the rate."""
    _check(n, rate)
    return np.zeros(n)


def poisson(n: int, rate: float, seed: int = DEFAULT_SEED) -> Float[ndarray, " request"]:
    """One by one, none knowing of the others.

    >>> bool(abs(poisson(10_000, rate=4.0)[-1] / 2500 - 1) < 0.05)
    True
    """
    _check(n, rate)
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def bursts(
    n: int, rate: float, seed: int = DEFAULT_SEED, size: float = BURST
) -> Float[ndarray, " request"]:
    """In groups of ``size`` on average, whose members come together.

    >>> bool(abs(bursts(10_000, rate=4.0)[-1] / 2500 - 1) < 0.1)
    True
    """
    _check(n, rate)
    if not size >= 1:
        raise InputError(f"size must be 1 or more, got {size!r}.")
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(1 / size, n)
    times = np.cumsum(rng.exponential(size / rate, n))
    return np.repeat(times, sizes)[:n]


ARRIVALS: dict[str, Callable[[int, float, int], ndarray]] = {
    "all at once": all_at_once,
    "poisson": poisson,
    "bursts": bursts,
}
"""The patterns of a study, by name: ``(n, rate, seed) -> times``."""


def _check(n: int, rate: float) -> None:
    if n < 1 or not 0 < rate < np.inf:
        raise InputError(f"Arrivals need one request or more and a rate above 0; got {n}, {rate}.")
