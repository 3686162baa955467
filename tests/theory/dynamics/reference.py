"""The layer written out position by position, differentiated by autograd: what the fast step must equal."""

import torch
from torch import Tensor


def sequences_of(counts: Tensor) -> list[Tensor]:
    """The keys of each sequence, in some order: nothing depends on positions."""
    keys = torch.arange(counts.shape[1])
    return [keys.repeat_interleave(row.long()) for row in counts]


def plain_loss(decoder: Tensor, attention: Tensor, counts, query, target) -> Tensor:
    """Mean -log p(next): softmax over positions, one-hot values, normalised output, linear decoder."""
    losses = []
    for ids, m, following in zip(sequences_of(counts), query, target, strict=True):
        weight = torch.softmax(attention[m][ids], dim=0)
        values = torch.nn.functional.one_hot(ids, counts.shape[1]).to(weight)
        combined = (weight[:, None] * values).sum(0)
        scores = decoder @ (combined / combined.norm())
        losses.append(-torch.log_softmax(scores, dim=0)[following])
    return torch.stack(losses).mean()


def plain_gradients(decoder, attention, counts, query, target):
    """Loss and gradients of one pair of matrices."""
    own = [one.clone().requires_grad_() for one in (decoder, attention)]
    loss = plain_loss(*own, counts, query, target)
    return loss.detach(), *torch.autograd.grad(loss, own)
