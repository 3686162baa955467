"""One attention layer without positions and a linear decoder, trained by SGD: forward, gradient, record.

With q the counts of the keys before the query m, and Y, Z the two matrices of pairs of tokens:

    attention      c_l = q_l exp Z_ml / sum_k q_k exp Z_mk        (every occurrence of l has the same weight)
    output         f = c / |c|,    u = Y f,    loss = -log softmax(u)_next
    gradients      g = softmax(u) - onehot(next),    dY = g f^T
                   dZ_m = c * (h - (h.f) f) / |c|,   h = Y^T g

The subtracted mean of the softmax vanishes: h - (h.f) f is orthogonal to c. Rates are eta_Z for Z and
ratio * eta_Z for Y, averaged over a batch, with momentum as PyTorch has it.

Recorded at every step, for each class n with the expected attention c_l = P(l|n) exp Z_ml / sum: its entropy,
the mass on common and on each distinct token, how far the logits Z moved, and the loss of the batch.

Source: Tian et al. 2023 (arXiv 2305.16380), the embedding folded into Y and Z; rates, momentum and initial
weights as in the published runs (`scan_snap/figure_6.log`) unless said otherwise. Ours: all is in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, NumericsError
from satlens.theory.dynamics.sequences import Sequences

STARTS = ("uniform", "zero")
LOSS = 0.05
"""A share of attention that is lower than it was by less than this part counts as kept: SGD is noisy."""


@dataclass
class Layer:
    """The two matrices under several rates at once, and their momentum."""

    decoder: Float[Tensor, "rate output key"]
    attention: Float[Tensor, "rate query key"]
    velocity: list[Tensor] = field(default_factory=list)

    @staticmethod
    def start(sequences: Sequences, rates: int, start: str, rng: np.random.Generator) -> "Layer":
        """Zero, or U(-a, a) with a = vocabulary ** -0.5; the same weights under every rate."""

        def weights(rows: int) -> Tensor:
            bound = sequences.vocabulary**-0.5 if start == "uniform" else 0.0
            drawn = rng.uniform(-bound, bound, (rows, sequences.keys))
            return torch.from_numpy(drawn).repeat(rates, 1, 1)

        return Layer(weights(sequences.vocabulary), weights(sequences.queries))


@torch.no_grad()
def gradients(
    layer: Layer,
    counts: Float[Tensor, "batch key"],
    query: Int[Tensor, " batch"],
    target: Int[Tensor, " batch"],
) -> tuple[
    Float[Tensor, " rate"], Float[Tensor, "rate output key"], Float[Tensor, "rate query key"]
]:
    """The mean loss of a batch under every rate, and its gradients for decoder and attention."""
    logits = layer.attention[:, query]
    absent = counts == 0
    weight = counts * torch.exp(logits - logits.masked_fill(absent, -torch.inf).amax(-1, True))
    weight = weight.masked_fill(absent, 0.0)
    c = weight / weight.sum(-1, keepdim=True)
    norm = c.norm(dim=-1, keepdim=True)
    f = c / norm
    log_p = (f @ layer.decoder.mT).log_softmax(-1)
    batch = len(query)
    own = target.expand(len(log_p), batch)[..., None]
    loss = -log_p.gather(-1, own).mean((1, 2))
    g = log_p.exp()
    g.scatter_add_(-1, own, torch.full_like(own, -1, dtype=g.dtype))
    g /= batch
    h = g @ layer.decoder
    d_logits = c * (h - (h * f).sum(-1, keepdim=True) * f) / norm
    onehot = torch.nn.functional.one_hot(query, layer.attention.shape[1]).to(f)
    return loss, g.mT @ f, onehot.T @ d_logits


def update(
    layer: Layer,
    grads: Sequence[Tensor],
    rates: tuple[Float[Tensor, " rate"], Float[Tensor, " rate"]],
    momentum: float,
) -> None:
    """One step of SGD on both matrices, in place; ``rates`` are those of decoder and attention."""
    if not layer.velocity:
        layer.velocity = [torch.zeros_like(g) for g in grads]
    pairs = zip((layer.decoder, layer.attention), layer.velocity, grads, rates, strict=True)
    for weights, velocity, gradient, rate in pairs:
        velocity.mul_(momentum).add_(gradient)
        weights.sub_(rate[:, None, None] * velocity)


@dataclass(frozen=True, eq=False)
class Training:
    """What was recorded under each rate; step 0 is before the first update.

    Attributes:
        rates: ``[rate, 2]`` eta_Z and eta_Y / eta_Z.
        loss: ``[rate, step]`` mean of the batch, in nats.
        speed: ``[rate, step]`` Euclidean norm of the change of the attention logits.
        entropy: ``[rate, step + 1]`` of the attention, in nats, mean over classes.
        mass: ``[rate, step + 1, token]`` attention on each token of a class, mean over classes: the common
            ones, then the distinct ones from the rarest on.
        logit: the same of the attention logits Z, from where they began.
        left: ``[rate, n, distinct]`` of the attention on distinct tokens, the step from which a token's share
            stays more than `LOSS` below its largest; the number of steps if it was not left.
        top: ``[rate]`` mass on the most attended token at the end, mean over classes.
        settings: what made it.
    """

    rates: Float[ndarray, "rate 2"]
    loss: Float[ndarray, "rate step"]
    speed: Float[ndarray, "rate step"]
    entropy: Float[ndarray, "rate time"]
    mass: Float[ndarray, "rate time token"]
    logit: Float[ndarray, "rate time token"]
    left: Int[ndarray, "rate n distinct"]
    top: Float[ndarray, " rate"]
    settings: dict[str, Any]


def train_one_layer(
    sequences: Sequences,
    rates: Sequence[tuple[float, float]],
    *,
    steps: int = 100,
    batch: int = 128,
    momentum: float = 0.9,
    start: str = "uniform",
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> Training:
    """Train under several pairs of rates at once, on the same sequences in the same order.

    Args:
        rates: pairs of eta_Z and the ratio eta_Y / eta_Z.
        momentum: of SGD; the published runs have 0.9, the theory 0.
        start: "uniform" weights as the published runs of many rates have them, or "zero" as in the theory.

    Raises:
        InputError: rates that are no pairs of positive numbers, or other unusable settings.
        NumericsError: rates so large that numbers overflow.

    Example:
        >>> found = train_one_layer(Sequences(), [(1.0, 1.0), (1.0, 5.0)], steps=20)
        >>> common = found.mass[:, :, :10].sum(-1)  # on the ten common tokens
        >>> bool((common[:, -1] < common[:, 0]).all()), found.loss.shape
        (True, (2, 20))
    """
    pairs = check(rates, steps, batch, momentum, start)
    rng = np.random.default_rng(seed)
    layer = Layer.start(sequences, len(pairs), start, rng)
    eta_z = torch.tensor(pairs[:, 0])
    both = (torch.tensor(pairs.prod(1)), eta_z)
    record = Record.begin(sequences, layer, steps)
    for step in tqdm(range(steps), desc="one layer", unit=" steps", disable=not progress):
        counts, query, target = (torch.from_numpy(one) for one in sequences.draw(rng, batch))
        loss, *grads = gradients(layer, counts, query, target)
        before = layer.attention.clone()
        update(layer, grads, both, momentum)
        record.take(step, loss, (layer.attention - before).flatten(1).norm(dim=1), layer)
    bad = pairs[~torch.isfinite(record.loss + record.speed).all(1).numpy()]
    if len(bad):
        raise NumericsError(
            f"Training gives NaN or infinite numbers under (eta_Z, ratio) = {bad.tolist()}: lower the rates."
        )
    settings = {
        "sequences": sequences.to_dict(), "steps": steps, "batch": batch, "momentum": momentum,
        "start": start, "seed": seed,
    }  # fmt: skip
    return record.finish(pairs, settings)


def check(rates: Any, steps: int, batch: int, momentum: float, start: str) -> ndarray:
    """The rates as an array, or an error for settings that mean nothing."""
    for name, value in (("steps", steps), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number of 1 or more, got {value!r}.")
    if not 0 <= momentum < 1:
        raise InputError(f"momentum must lie in [0, 1), got {momentum}.")
    if start not in STARTS:
        raise InputError(f"start is {start!r}; it must be 'uniform' or 'zero'.")
    pairs = np.asarray(list(rates), dtype=float)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not (np.isfinite(pairs) & (pairs > 0)).all():
        raise InputError(
            f"rates must be pairs (eta_Z, eta_Y / eta_Z) of numbers above 0, got {list(rates)!r}."
        )
    return pairs


@dataclass
class Record:
    """What `train_one_layer` keeps, step by step.

    ``largest`` and ``left`` are of shares of the attention on distinct tokens, ``now`` is the attention.
    """

    at: tuple[Tensor, Tensor]
    common: int
    log_p: Float[Tensor, " token"]
    loss: Tensor
    speed: Tensor
    entropy: Tensor
    mass: Tensor
    logit: Tensor
    largest: Tensor
    left: Tensor
    first: Tensor
    now: Tensor

    @staticmethod
    def begin(sequences: Sequences, layer: Layer, steps: int) -> "Record":
        """Empty but for the state before the first step."""
        rates, (n, tokens) = len(layer.decoder), sequences.tokens.shape

        def empty(*shape: int) -> Tensor:
            return torch.zeros(rates, *shape, dtype=torch.float64)

        query = torch.arange(n) // sequences.next_per_query
        at = (query[:, None], torch.from_numpy(sequences.tokens))
        own = empty(n, sequences.distinct)
        record = Record(
            at, sequences.common, torch.from_numpy(np.log(sequences.probability)), empty(steps), empty(steps),
            empty(steps + 1), empty(steps + 1, tokens), empty(steps + 1, tokens), own,
            torch.full_like(own, steps, dtype=torch.long), layer.attention[:, at[0], at[1]], empty(n, tokens),
        )  # fmt: skip
        record._look(0, layer)
        return record

    def take(self, step: int, loss: Tensor, speed: Tensor, layer: Layer) -> None:
        """What an update did."""
        self.loss[:, step], self.speed[:, step] = loss, speed
        self._look(step + 1, layer)

    def _look(self, time: int, layer: Layer) -> None:
        logit = layer.attention[:, self.at[0], self.at[1]]
        log_c = (logit + self.log_p).log_softmax(-1)
        self.now = c = log_c.exp()
        self.entropy[:, time] = -(c * log_c).sum(-1).mean(-1)
        self.mass[:, time] = c.mean(1)
        self.logit[:, time] = (logit - self.first).mean(1)
        share = c[..., self.common :]
        share = share / share.sum(-1, keepdim=True)
        self.largest = self.largest.maximum(share)
        never = torch.full_like(self.left, self.loss.shape[1])
        lower = share < (1 - LOSS) * self.largest
        self.left = torch.where(lower, self.left.clamp(max=time), never)

    def finish(self, rates: ndarray, settings: dict[str, Any]) -> Training:
        """Everything as numpy arrays."""
        names = ("loss", "speed", "entropy", "mass", "logit")
        kept = {name: getattr(self, name).numpy() for name in names}
        left = self.left.numpy()
        return Training(
            rates, **kept, left=left, top=self.now.amax(-1).mean(-1).numpy(), settings=settings
        )
