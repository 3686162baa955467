"""What the final output alone says of a token, without any state: margins and entropy.

With z_(1) >= z_(2) >= .. the final logits in order and p their softmax,

    features = z_(1) - z_(2), .., z_(k) - z_(k+1), -sum p log p

A stage is bound to these by arithmetic: ranks with wide final margins are fixed early on any path.
"""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def final_features(logits: Float[Tensor, "token output"], k: int) -> Float[Tensor, "token f"]:
    """Margins between neighbouring ranks (k, or as many as there are) and the entropy in nats.

    Example:
        >>> [round(x, 3) for x in final_features(torch.tensor([[3.0, 1.0, 0.0]]), k=2)[0].tolist()]
        [2.0, 1.0, 0.524]
    """
    logits = logits.float()
    top = logits.topk(min(k + 1, logits.shape[1])).values
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1, keepdim=True)
    return torch.cat([top[:, :-1] - top[:, 1:], entropy], dim=1)
