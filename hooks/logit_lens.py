"""Read every layer as if it were the last one: the logit lens.

    z_l = r(h_l),    r = final norm, unembedding, and the soft cap of models that have one

`r` is the model's own way from its last state to its logits, so z_{L-1} are the model's logits.
Scores of one layer exist at a time; what is kept is what ``read`` makes of them.

    top1 = logit_lens(model, tokens, lambda z: z.argmax(-1))            # [layer, batch, pos]
    right = logit_lens(model, tokens, lambda z: z.log_softmax(-1)[..., answer])
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
def logit_lens(model, tokens, read=lambda scores: scores.argmax(-1), **kwargs):
    """Return ``read(z_l)`` for every layer, stacked: ``[layer, batch, pos, ...]``.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder; ``tokens`` are ids
    ``[batch, pos]``; ``read`` takes scores ``[batch, pos, vocab]`` to a smaller tensor; ``kwargs``
    go to the model. Hooks that are already on the model act first and stay.
    """
    seen = {}

    def look(layer):
        def hook(resid, hook):
            seen[layer] = read(readout(model, resid))

        return f"blocks.{layer}.hook_resid_post", hook

    n_layers = len(model.blocks)
    with model.hooks(fwd_hooks=[look(layer) for layer in range(n_layers)]):
        model(tokens, **kwargs)
    return torch.stack([seen[layer] for layer in range(n_layers)])
