"""Leave early by softmax response: after which block is a position sure enough, and what does it say?

    leave after the first block l <= L-2 with  p_1 - p_2 >= lambda        p = softmax(r(h_l)), highest two
    with a mean length M, at position t:       p_1 - p_2 >= 0.9 lambda + 0.1 exp(-4 t / M)

The first block costs one: a position that leaves after block l has used l + 1 blocks. The states are those of
the full forward pass (earlier positions ran through all blocks), and every look reads the whole vocabulary.

    layer, logits = leave_by_softmax_response(model, tokens, threshold=0.8)
    agree = (logits.argmax(-1) == model(tokens).argmax(-1)).float().mean()
"""

import torch


def readout(model, resid):
    """State ``[..., d]`` -> scores ``[..., vocab]``, exactly as the model itself does it."""
    scores = model.unembed(model.ln_final(resid))
    if hasattr(model, "adapter"):  # a TransformerBridge knows its model's cap or scale
        return model.adapter.apply_output_logits_transform(scores)
    cap = model.cfg.output_logits_soft_cap
    return cap * torch.tanh(scores / cap) if cap > 0 else scores


@torch.no_grad()
def leave_by_softmax_response(model, tokens, threshold, mean_length=None, **kwargs):
    """Return ``(layer [batch, pos], logits [batch, pos, vocab])`` at the exit of every position.

    ``layer`` is L-1 where a position never leaves; then the logits are the model's own. Other arguments
    as in `logit_lens`.
    """
    last = len(model.blocks) - 1
    limit = torch.full(tokens.shape, float(threshold), device=tokens.device)
    if mean_length is not None:
        place = torch.arange(tokens.shape[1], device=tokens.device)
        limit = 0.9 * limit + 0.1 * torch.exp(-4.0 * place / mean_length)
    exit_layer = torch.full_like(tokens, last)
    answers = {}  # exit layer -> the positions that leave there, and their scores

    def look(layer):
        def hook(resid, hook):
            here = exit_layer == last  # those that have not left
            scores = readout(model, resid)[here]
            top = scores.softmax(-1, dtype=torch.float32).topk(2, dim=-1).values
            leave = here.clone()
            leave[here] = top[:, 0] - top[:, 1] >= limit[here]
            exit_layer[leave] = layer
            answers[layer] = leave, scores[leave[here]]

        return f"blocks.{layer}.hook_resid_post", hook

    with model.hooks(fwd_hooks=[look(layer) for layer in range(last)]):
        logits = model(tokens, **kwargs).clone()
    for leave, scores in answers.values():
        logits[leave] = scores
    return exit_layer, logits
