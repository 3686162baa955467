"""What a lens's answer is worth beside the full model's, token by token. No ground truth is used.

With z the scores of the lens, f the model's own logits, p = softmax f, q = softmax z and v = argmax z,

    precision@k    1 if v is among the top k of f
    surprisal      -log p(v)
    kl             sum p log (p / q)

Ties: the lower id first. Source: Yom Din et al. 2023, section 3; the divergence is ours, beside them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

MEASURES = ("precision@1", "precision@5", "precision@10", "surprisal", "kl")
"""Columns of `agreement`. Nats; precisions are 0 or 1."""
TOPS = (1, 5, 10)
HIGHER_IS_BETTER = {"precision@1": True, "precision@5": True, "precision@10": True,
                    "surprisal": False, "kl": False, "r2": True}  # fmt: skip


@torch.no_grad()
def agreement(
    scores: Float[Tensor, "token output"], full: Float[Tensor, "token output"]
) -> Float[Tensor, "token measure"]:
    """The measures of every token, float64.

    Example:
        >>> full = torch.tensor([[3.0, 2.0, 1.0]])
        >>> agreement(torch.tensor([[0.0, 9.0, 0.0]]), full)[0, :3].tolist()
        [0.0, 1.0, 1.0]
        >>> agreement(full, full)[0].tolist()[0], float(agreement(full, full)[0, -1])
        (1.0, 0.0)
    """
    wide = torch.promote_types(full.dtype, torch.float32)
    top = scores.argmax(-1, keepdim=True)  # of equal scores the first
    own = full.gather(1, top)
    ids = torch.arange(full.shape[1], device=full.device)
    before = ((full > own) | ((full == own) & (ids < top))).count_nonzero(1)
    log_p, log_q = full.to(wide).log_softmax(-1), scores.to(wide).log_softmax(-1)
    # p = 0 where a logit is -inf: such an output adds nothing, whatever the lens says of it.
    terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
    columns = [(before < k).double() for k in TOPS]
    columns += [-log_p.gather(1, top)[:, 0].double(), terms.sum(1, dtype=torch.float64)]
    return torch.stack(columns, 1)
