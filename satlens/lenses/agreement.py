"""What a lens's answer is worth beside the full model's, token by token. No ground truth is used.

With z the scores of the lens, f the model's own logits, p = softmax f, q = softmax z and v = argmax z,

    precision@k    1 if v is among the top k of f
    surprisal      -log p(v)
    kl             sum p log (p / q) = sum p log p - sum p z + log sum exp z

Ties: the lower id first. Scores that are not finite (a lens whose states overflow) name nothing: precision 0,
surprisal and kl NaN. Source: Yom Din et al. 2023, section 3; the divergence is ours, beside them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.errors import NumericsError

TOPS = (1, 5, 10)
MEASURES = (*(f"precision@{k}" for k in TOPS), "surprisal", "kl")
"""Columns of `agreement`. Nats; precisions are 0 or 1."""


@dataclass(frozen=True, eq=False)
class FullOutput:
    """The model's own output at some tokens, and what every lens is held against.

    Attributes:
        logits: f. log_p, p: of its softmax, in float32 at least.
        certainty: ``sum p log p``, on the CPU.
        highest: the highest logits, one more than the largest k.
    """

    logits: Float[Tensor, "token output"]
    log_p: Float[Tensor, "token output"]
    p: Float[Tensor, "token output"]
    certainty: Float[Tensor, " token"]
    highest: Float[Tensor, "token top"]

    @staticmethod
    @torch.no_grad()
    def of(logits: Float[Tensor, "token output"]) -> "FullOutput":
        """From the logits; once for all lenses and layers."""
        if bool(logits.isnan().any()):
            raise NumericsError(
                f"NaN in the model's own output at {int(logits.isnan().any(1).sum())} of {len(logits)} "
                "positions: there is nothing to hold a lens against."
            )
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        p = log_p.exp()
        # An output that is ruled out (-inf) adds nothing.
        certainty = exact_sum(torch.where(p > 0, p * log_p, 0.0))
        highest = logits.topk(min(max(TOPS) + 1, logits.shape[1]), dim=1).values
        return FullOutput(logits, log_p, p, certainty, highest)

    def before(self, ids: Int[Tensor, " token"]) -> Int[Tensor, " token"]:
        """How many outputs come before each of these, exact up to the largest k."""
        own = self.logits.gather(1, ids[:, None])
        before = (self.highest > own).sum(1)
        # An equal logit elsewhere is before it if its id is lower; beyond the highest, nobody asks.
        tied = ((self.highest == own).sum(1) > 1) | (self.highest[:, -1:] == own)[:, 0]
        if tied.any():
            logits, mine, rows = self.logits[tied], own[tied], ids[tied][:, None]
            lower = torch.arange(logits.shape[1], device=logits.device) < rows
            first = (logits > mine) | ((logits == mine) & lower)
            before[tied] = first.sum(1)
        return before


@torch.no_grad()
def agreement(
    scores: Float[Tensor, "token output"], full: FullOutput | Float[Tensor, "token output"]
) -> Float[Tensor, "token measure"]:
    """The measures of every token, float64 on the CPU.

    Example:
        >>> full = torch.tensor([[3.0, 2.0, 1.0]])
        >>> agreement(torch.tensor([[0.0, 9.0, 0.0]]), full)[0, :3].tolist()
        [0.0, 1.0, 1.0]
    """
    full = full if isinstance(full, FullOutput) else FullOutput.of(full)
    z = scores.to(full.p.dtype)
    top, best = z.argmax(-1), z.amax(-1, keepdim=True)  # of equal scores the first
    before = full.before(top)
    lost = ~best[:, 0].isfinite()  # NaN and overflow are the largest
    z = z - best  # small where p is large, so that the two sums lose little to each other
    terms = torch.where(full.p > 0, full.p * z, 0.0) if bool(torch.isinf(z).any()) else full.p * z
    kl = full.certainty - exact_sum(terms) + z.logsumexp(-1).cpu().double()
    surprisal = -full.log_p.gather(1, top[:, None])[:, 0].cpu().double()
    before, lost = before.cpu(), lost.cpu()
    columns = [((before < k) & ~lost).double() for k in TOPS]
    columns += [torch.where(lost, torch.nan, one) for one in (surprisal, kl)]
    return torch.stack(columns, 1)


def exact_sum(values: Float[Tensor, "token output"]) -> Float[Tensor, " token"]:
    """Along the outputs in float64, where the device has it; the result is on the CPU."""
    if values.device.type == "mps":
        return values.sum(-1).cpu().double()
    return values.sum(-1, dtype=torch.float64).cpu()
