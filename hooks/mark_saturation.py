"""Mark, while the forward pass runs, since which layer each rank has held its token.

    s_0 = 0,    s_l = s_{l-1} where top_l == top_{l-1}, else l        (rank by rank)

with top_l the k best tokens of the logit lens at layer l, equal scores by lower id. After the last
block, s is the saturation layer: the first layer from which the rank holds the model's own answer
in every later layer. s = L-1 says only that it was not fixed before the output. No state is kept.

    layer, token = mark_saturation(model, tokens, k=5)
    layer[0, -1]             # the last position: from which layer on ranks 1 .. 5 are fixed
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
def mark_saturation(model, tokens, k=5, **kwargs):
    """Return ``(layer [batch, pos, k], token [batch, pos, k])``, rank 1 first.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder; ``tokens`` are ids
    ``[batch, pos]``; ``kwargs`` go to the model. Hooks already on the model act first and stay.
    Cost: one unembedding and one sort a layer (`topk` is faster, and leaves ties in any order).
    """
    top = since = None

    def mark(layer):
        def hook(resid, hook):
            nonlocal top, since
            scores = readout(model, resid)
            now = scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]
            held = now == top if layer else torch.ones_like(now, dtype=torch.bool)
            since = torch.where(held, since if layer else 0, layer)
            top = now

        return f"blocks.{layer}.hook_resid_post", hook

    with model.hooks(fwd_hooks=[mark(layer) for layer in range(len(model.blocks))]):
        model(tokens, **kwargs)
    return since, top
