"""Hold a position's state at what it was after its saturation layer.

    h'_l[p] = block_l(h'_{l-1})[p]   for l <= s[p],        h'_l[p] = h'_{s[p]}[p]   for l > s[p]

Later blocks still run, and other positions attend to keys and values that each block computes
from the held state, as in early exit with copied states (CALM). So this measures what an exit
would do to the answers; it saves no time.

Frozen alone, a position keeps its top-1 by the definition of saturation: its logits are the lens at
s[p]. Frozen together, positions read one another's held states, and top-1 may change: measure it.

    logits = freeze_after_saturation(model, tokens, layer[..., 0])       # from mark_saturation
    (logits.argmax(-1) == model(tokens).argmax(-1)).float().mean()       # share that is unchanged
"""

import torch


@torch.no_grad()
def freeze_after_saturation(model, tokens, layer, **kwargs):
    """Return the logits ``[batch, pos, vocab]`` with each position held from ``layer`` on.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder; ``tokens`` are ids
    ``[batch, pos]``; ``layer [batch, pos]`` is the block after which each position's state stays
    as it is: L-1 or more leaves a position alone. ``kwargs`` go to the model.
    Hooks that are already on the model act first and stay; the ones added here are removed.
    """
    held = None

    def hold(block):
        def hook(resid, hook):
            nonlocal held
            if block:
                frozen = (block > layer)[..., None].to(resid.device)
                resid = torch.where(frozen, held, resid)
            held = resid.clone()
            return resid

        return f"blocks.{block}.hook_resid_post", hook

    with model.hooks(fwd_hooks=[hold(block) for block in range(len(model.blocks))]):
        return model(tokens, **kwargs)
