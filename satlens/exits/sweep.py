"""Thresholds for a sweep: so spaced that the mean number of blocks used is evenly spaced.

With the running maximum ``M_l = max(signal_0 .. signal_l)`` a token leaves at the first l with ``M_l >=
t``, so

    mean blocks used at t = 1 + sum_{l <= L-2} P(M_l < t) = 1 + (L-1) P(M < t),    M drawn from all M_l alike

and thresholds at even quantiles of M are even in depth. They are chosen on documents of their own, not on
those that the policies are judged on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from satlens.errors import InputError
from satlens.exits.looking import Reader, Scores, signal_of
from satlens.exits.policy import Peek, ThresholdPolicy, name_of
from satlens.lenses import Lens, LogitLens, check_model
from satlens.models import Batches, wrap
from satlens.models.protocol import States

POINTS = 16
TOKENS = 10_000


def sweep(
    model: Any,
    inputs: Any,
    policies: ThresholdPolicy | Sequence[ThresholdPolicy],
    *,
    n: int = POINTS,
    lens: Lens | None = None,
    tokens: int = TOKENS,
    batch_size: int = 8,
) -> list[ThresholdPolicy]:
    """Every policy at up to n thresholds, from "every token leaves at once" to "hardly any leaves early".

    Args:
        model, inputs, batch_size: as in `satlens.detect`; inputs may be `Batches`. None of them
            should be among those that the policies are judged on.
        policies: what `satlens.exits.evaluate` takes, at any threshold.
        n: thresholds of each; fewer where the signal takes fewer values.
        lens: as in `evaluate`.
        tokens: whole windows are read, in order, until this many are reached.

    Raises:
        InputError: n below 2, a policy without a threshold, or a lens of another model.

    Example:
        >>> import satlens
        >>> from satlens.exits import Patience
        >>> swept = sweep(satlens.load_model("tiny"), "Lily had a red ball.", Patience(), n=4)
        >>> swept[0]
        Patience(threshold=1, name='patience')
    """
    policies = [policies] if callable(policies) else list(policies)
    if n < 2 or tokens < 1:
        raise InputError(f"A sweep needs n of at least 2 and tokens above 0; got {n} and {tokens}.")
    for policy in policies:
        if not isinstance(policy, ThresholdPolicy):
            raise InputError(
                f"{name_of(policy)!r} has no threshold to sweep: it lacks signal, limit or at."
            )
    model = wrap(model)
    lens = lens or LogitLens(model)
    check_model(lens, model)
    batches = inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size)
    batches = batches.first(tokens) if isinstance(batches, Batches) else batches
    reached: list[list[ndarray]] = [[] for _ in policies]
    for batch in batches:
        if batch.real.any():
            states = model.states(batch, logits=False)
            for kept, policy in zip(reached, policies, strict=True):
                kept.append(_running_maximum(states, policy, lens))
    if not reached or not reached[0]:
        raise InputError("The inputs gave no real position to choose thresholds on.")
    return [
        policy.at(threshold)
        for kept, policy in zip(reached, policies, strict=True)
        for threshold in spaced(np.concatenate(kept), n, policy)
    ]


@torch.no_grad()
def _running_maximum(
    states: States, policy: ThresholdPolicy, lens: Lens
) -> Float[ndarray, " value"]:
    """``M_l`` of every token and layer of one batch."""
    reader, memory, before = Reader(Scores(lens)), {}, None
    best: Tensor | None = None
    found = []
    for layer in range(len(states.resid) - 1):
        resid = states.resid[layer].clone()
        peek = Peek(layer, len(states.resid), resid, before, states.pos, reader, memory)
        signal = signal_of(policy, peek)
        best = signal if best is None else torch.maximum(best, signal)
        found.append(best)
        before = states.resid[layer].clone()
    return torch.stack(found).double().cpu().numpy().ravel()


def spaced(values: Float[ndarray, " value"], n: int, policy: ThresholdPolicy) -> list[float]:
    """Even quantiles of the values that are thresholds of the policy, each once, ascending.

    >>> from satlens.exits import FixedLayer
    >>> spaced(np.array([0.0, 1, 2, 3, 4]), 3, FixedLayer())
    [0, 2, 4]
    """
    low, high = getattr(policy, "lowest", -np.inf), getattr(policy, "highest", np.inf)
    chosen = np.quantile(values, np.linspace(0, 1, n), method="higher")
    chosen = np.unique(np.clip(chosen, low, high))
    chosen = chosen[np.isfinite(chosen)]
    if not len(chosen):
        raise InputError(f"The signal of {name_of(policy)!r} is finite nowhere on these inputs.")
    whole = getattr(policy, "whole", False)
    return [int(t) if whole else float(t) for t in chosen]
