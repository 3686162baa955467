"""Early exit at the same cost, to hold token routing against.

    a token leaves a model without gates after block e, the first with p_1 - p_2 > t (softmax response),
    and has used e + 1 blocks: the first block costs one, once
    t: the highest at which tokens of other rows use no more blocks in the mean than the routed ones

The answer is the model's own readout at the exit, and states are those of the full model. The model has not
been trained to answer early, so this is the baseline that costs no training, not the best there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.models.protocol import ResidualModel
from satlens.resampling import DRAWS, Estimate, bootstrap
from satlens.routing.examples import NOT_SCORED, Examples


@dataclass(frozen=True, eq=False)
class EarlyExit:
    """Early exit at one threshold.

    Attributes:
        threshold: t; infinite where no token leaves early.
        sums: ``[row, 5]``: nats, right answers and number of scored positions, blocks used, tokens.
    """

    threshold: float
    n_layers: int
    sums: Float[ndarray, "row 5"]
    draws: int = DRAWS
    seed: int = DEFAULT_SEED

    def _ratio(self, above: int, below: int, scale: float = 1.0) -> Estimate:
        return bootstrap(
            self.sums,
            lambda s: s[..., above : above + 1] / s[..., below : below + 1] * scale,
            draws=self.draws,
            seed=self.seed,
        )[0]

    @property
    def loss(self) -> Estimate:
        """Mean nats over the scored positions, each answered at its exit."""
        return self._ratio(0, 2)

    @property
    def accuracy(self) -> Estimate:
        """Share of the scored positions whose target is the top answer."""
        return self._ratio(1, 2)

    @property
    def blocks(self) -> Estimate:
        """Mean blocks a token used."""
        return self._ratio(3, 4)

    @property
    def saved(self) -> float:
        """``1 - blocks / L``: with blocks = 1 + (L-1) active, TLOps saved."""
        return 1 - self.blocks.value / self.n_layers


def matched_early_exit(
    model: ResidualModel,
    blocks: float,
    calibration: Iterable[Examples],
    rows: Iterable[Examples],
) -> EarlyExit:
    """Early exit of a model without gates in which tokens use ``blocks`` blocks in the mean.

    Args:
        blocks: ``1 + (L - 1) active`` of the gates it is held against.
        calibration: rows that choose the threshold; none of ``rows``.

    Raises:
        InputError: fewer blocks than one or more than there are, or no rows.
    """
    if not 1 <= blocks <= model.n_layers:
        raise InputError(f"A token uses 1 to {model.n_layers} blocks in the mean, not {blocks}.")
    gaps = [_looked(model, one)[0] for one in calibration]
    looked = [(one, *_looked(model, one)) for one in rows]
    if not gaps or not looked:
        raise InputError(
            "Early exit needs rows to choose its threshold on, and others to be measured."
        )
    threshold = matched_threshold(np.concatenate(gaps, axis=1), blocks)
    sums = [_sums(one, gap, nats, right, threshold) for one, gap, nats, right in looked]
    return EarlyExit(threshold, model.n_layers, np.concatenate(sums))


def matched_threshold(gap: Float[ndarray, "layer token"], blocks: float) -> float:
    """The highest t at which at most ``blocks`` blocks are used in the mean.

    Blocks used rise with t, so it is found by halving the list of gaps.

    >>> gap = np.array([[0.1, 0.5, 0.9, 0.2], [1.0, 1.0, 1.0, 1.0]])
    >>> [float(exit_layer(gap, t).mean()) + 1 for t in (0.0, 0.1, 0.2, 0.9)]
    [1.0, 1.25, 1.5, 2.0]
    >>> matched_threshold(gap, 1.6), matched_threshold(gap, 2.0)
    (0.2, inf)
    """
    candidates = np.concatenate([[-1.0], np.unique(gap[:-1]), [np.inf]])
    low, high = 0, len(candidates) - 1
    while low < high:  # the highest that costs no more
        middle = (low + high + 1) // 2
        if exit_layer(gap, candidates[middle]).mean() + 1 <= blocks + 1e-9:
            low = middle
        else:
            high = middle - 1
    return float(candidates[low])


def exit_layer(gap: Float[ndarray, "layer token"], threshold: float) -> Int[ndarray, " token"]:
    """The first layer whose gap is above the threshold; the last one if none is."""
    sure = gap > threshold
    sure[-1] = True  # of the comparison, not of the gaps
    return sure.argmax(0)


@torch.no_grad()
def _looked(model: ResidualModel, examples: Examples) -> tuple[ndarray, ndarray, ndarray]:
    """``[layer, token]`` of the real tokens, row by row: gap p1 - p2, nats of the target, top is target."""
    batch = examples.batch(model)
    states = model.states(batch)
    target = examples.target.to(batch.real.device)[batch.real]
    found: tuple[list[ndarray], list[ndarray], list[ndarray]] = ([], [], [])
    for resid in states.resid:
        log_p = torch.log_softmax(model.readout(resid).float(), -1)
        top = log_p.topk(2, -1)
        first, second = top.values.double().exp().unbind(-1)
        asked = log_p.gather(-1, target.clamp(min=0)[:, None])[:, 0]
        for kept, one in zip(
            found, (first - second, -asked.double(), log_p.argmax(-1) == target), strict=True
        ):
            kept.append(one.cpu().numpy())
    gap, nats, right = (np.stack(one) for one in found)
    return gap, nats, right


def _sums(
    examples: Examples, gap: ndarray, nats: ndarray, right: ndarray, threshold: float
) -> Float[ndarray, "row 5"]:
    """The sums of every row."""
    layer = exit_layer(gap, threshold)
    token = np.arange(gap.shape[1])
    real = examples.counts.cpu()
    row = real.nonzero()[:, 0].numpy()
    scored = (examples.target.cpu()[real] != NOT_SCORED).numpy()
    columns = [
        nats[layer, token] * scored, right[layer, token] & scored, scored, layer + 1.0, np.ones(len(row)),
    ]  # fmt: skip
    out = np.zeros((len(real), len(columns)))
    np.add.at(out, row, np.stack(columns, 1).astype(float))
    return out


def blocks_used(active: float, n_layers: int) -> float:
    """Mean blocks of a routed token: block 0, and its share of the others.

    >>> blocks_used(0.4, 6)
    3.0
    """
    return 1 + (n_layers - 1) * active
