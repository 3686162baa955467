"""A batch of final outputs -> rows of `NextTokens`: each row of logits becomes ``2 k + 29`` numbers.

With l = log p and m the largest l of the rest,

    T(b) = b m + log sum exp(b (l - m)),      dT/db = m + sum (l - m) exp(b (l - m)) / sum exp(b (l - m))

over the rest, all outputs but the top k.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from satlens.errors import NumericsError
from satlens.models.protocol import States
from satlens.reranking.tokens import BETAS, NextTokens
from satlens.saturation.events import SaturationEvents
from satlens.saturation.ranking import top_ids

_NUMBERS = 2**22
"""Scores turned into probabilities at a time."""


@torch.no_grad()
def of_states(
    states: States,
    events: SaturationEvents,
    following: Int[Tensor, " token"],
    rows: Bool[Tensor, " token"],
) -> NextTokens:
    """The rows of one batch."""
    here = rows.cpu().numpy()
    top = torch.tensor(events.token[here], dtype=torch.long)
    step = max(1, _NUMBERS // states.logits.shape[1])
    index = rows.nonzero().flatten()
    said = [
        final_numbers(
            states.logits[index[first : first + step]],
            top[first : first + step].to(states.logits.device),
            following[index[first : first + step]],
        )
        for first in range(0, len(index), step)
    ]
    columns = {name: np.concatenate([one[name] for one in said]) for name in said[0]}
    return NextTokens(
        layer=events.layer[here], **columns, next=following[index].cpu().numpy(),
        doc=events.doc[here], pos=events.pos[here], n_layers=events.n_layers, settings=events.settings,
    )  # fmt: skip


def final_numbers(
    logits: Float[Tensor, "n output"], top: Int[Tensor, "n k"], following: Int[Tensor, " n"]
) -> dict[str, ndarray]:
    """Columns token, logp, tail, tail_slope and next_logp of some positions, from their final output.

    Raises:
        NumericsError: the next token has probability 0.
    """
    logp = logits.float().log_softmax(-1)
    next_logp = logp.gather(1, following[:, None])[:, 0]
    if not next_logp.isfinite().all():
        bad = int((~next_logp.isfinite()).sum())
        raise NumericsError(
            f"The model gives {bad} of {len(next_logp)} next tokens the probability 0 or NaN: no loss can "
            "be taken. Is its output masked, or its precision too low?"
        )
    known = logp.gather(1, top)
    rest = logp.scatter(1, top, -torch.inf)
    after = top_ids(rest, 1)
    largest = rest.gather(1, after)
    tail, slope = powers(rest.sub_(largest), largest)
    return {
        "token": torch.cat([top, after], dim=1).cpu().numpy().astype(np.int32),
        "logp": torch.cat([known, largest], dim=1).cpu().numpy(),
        "tail": tail.cpu().numpy(),
        "tail_slope": slope.cpu().numpy(),
        "next_logp": next_logp.cpu().numpy(),
    }


def powers(
    below: Float[Tensor, "n output"], largest: Float[Tensor, "n 1"]
) -> tuple[Float[Tensor, "n b"], Float[Tensor, "n b"]]:
    """``log sum exp(b (below + largest))`` and its slope at `BETAS`, ``below <= 0``; in place.

    The grid is even, so each power is the one before times one and the same factor: two exponentials in all.
    """
    below.clamp_(min=-1e4)  # what has no probability: 0 * inf would be NaN
    power = (float(BETAS[0]) * below).exp_()
    factor = (float(BETAS[1] - BETAS[0]) * below).exp_()
    value, slope = [], []
    for beta in BETAS.tolist():
        total = power.sum(1)
        value.append(beta * largest[:, 0] + total.log())
        slope.append(largest[:, 0] + torch.linalg.vecdot(power, below) / total)
        power *= factor
    return torch.stack(value, dim=1), torch.stack(slope, dim=1)
