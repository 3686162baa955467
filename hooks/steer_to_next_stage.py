"""Steer a token to its next stage: add a direction, put in no state.

    v = mean(h_l in stage i+1) - mean(h_l in stage i),        h_l[pos] <- h_l[pos] + alpha * v

    v = stage_direction(h[at == l], stage[at == l], i)      # of other texts: collect_stage_states
    layer, token = steer_to_next_stage(model, tokens, pos, l, v, alpha, run=mark_saturation)

Estimate v on other texts than those you steer, or v holds part of the very states it is added to.
Compare with a random direction of the same norm (`r = randn_like(v); r *= v.norm() / r.norm()`): a
push of that size may do as much whatever its direction.
"""

import torch


def stage_direction(h, stage, i):
    """Mean of stage i+1 minus mean of stage i ``[d]``, from states ``h [n, d]`` of ONE layer."""
    counts = [int((stage == n).sum()) for n in (i, i + 1)]
    if 0 in counts:
        raise ValueError(f"stages {i} and {i + 1} have {counts} states here: each needs some")
    return h[stage == i + 1].float().mean(0) - h[stage == i].float().mean(0)


@torch.no_grad()
def steer_to_next_stage(model, tokens, pos, layer, direction, alpha, run=None, **kwargs):
    """Return the steered logits ``[batch, pos, vocab]``, or what ``run`` gives in the steered model.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder; ``tokens`` are ids
    ``[batch, pos]``. ``pos`` and ``layer`` are numbers, or one a row ``[batch]``, or several a row
    ``[batch, m]`` (a place named twice is steered once). ``direction`` is ``[d]``, or ``[L, d]``
    with one for each layer. ``run(model, tokens, **kwargs)`` may be another recipe.
    Hooks that are already on the model act first and stay; the ones added here are removed.
    """
    pos, layer = (torch.as_tensor(x).cpu() for x in (pos, layer))
    pos, layer = (x if x.ndim == 2 else x.expand(len(tokens))[:, None] for x in (pos, layer))
    pos, layer, _ = torch.broadcast_tensors(pos, layer, torch.empty(len(tokens), 1))
    if layer.min() < 0 or layer.max() >= len(model.blocks):
        raise ValueError(f"layer {layer.tolist()}: the model has 0 .. {len(model.blocks) - 1}")

    def add(block):
        def hook(resid, hook):
            v, resid = direction[block] if direction.ndim == 2 else direction, resid.clone()
            rows = (layer == block).nonzero()[:, 0], pos[layer == block]
            resid[rows] += (alpha * v).to(resid.device)
            return resid

        return f"blocks.{block}.hook_resid_post", hook

    with model.hooks(fwd_hooks=[add(block) for block in layer.unique().tolist()]):
        return run(model, tokens, **kwargs) if run else model(tokens, **kwargs)
