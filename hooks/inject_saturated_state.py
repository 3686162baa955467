"""Put one token's state into another token's stream: activation patching.

    h_l[pos] <- the donor's h_l[donor_pos],    h_l = the OUTPUT of block l (`hook_resid_post`)

    run = lambda model, tokens: mark_saturation(model, tokens, k=3)
    layer, token = inject_saturated_state(model, donor, donor_pos, tokens, pos, l, run=run)

The published code replaced a block's output by its patched input: no position went through that
block. Here block l runs as ever, and its output is changed at one position.

Published success is "rank 1 is now fixed at layer l, top-1 the same". That is nearly circular: a
donor's state in which rank 1 is fixed decodes to the target at layer l by construction. Ask whether
rank 2 is fixed earlier, and compare with the recipient's own state and with donors not yet fixed.
"""

import torch


@torch.no_grad()
def inject_saturated_state(
    model, donor_tokens, donor_pos, tokens, pos, layer, run=None, donor_kwargs=None, **kwargs
):
    """Return the patched logits ``[batch, pos, vocab]``, or what ``run`` gives in the patched model.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder. ``donor_tokens`` and
    ``tokens`` are ids ``[batch, pos]``; one donor row serves all. ``donor_pos``, ``pos`` and
    ``layer`` are numbers, or one a row ``[batch]``. ``run(model, tokens, **kwargs)`` may be another
    recipe. ``donor_kwargs`` go to the donor's run, ``kwargs`` where left out.
    Hooks that are already on the model act first and stay; the ones added here are removed.
    """
    size = len(tokens)
    donor_pos, layer = torch.as_tensor(donor_pos).cpu(), torch.as_tensor(layer).cpu().expand(size)
    pos, donor = torch.as_tensor(pos).cpu().expand(size), {}
    if layer.min() < 0 or layer.max() >= len(model.blocks):
        raise ValueError(f"layer {layer.tolist()}: the model has 0 .. {len(model.blocks) - 1}")

    def take(block, resid):
        donor[block] = resid[torch.arange(len(resid)), donor_pos].expand(size, -1)

    def put(block, resid):
        resid, rows = resid.clone(), (layer == block).nonzero()[:, 0]
        resid[rows, pos[rows]] = donor[block][rows].to(resid.device)
        return resid

    def at_layers(act):
        return [
            (f"blocks.{b}.hook_resid_post", lambda resid, hook, b=b: act(b, resid))
            for b in layer.unique().tolist()
        ]

    with model.hooks(fwd_hooks=at_layers(take)):
        model(donor_tokens, **(kwargs if donor_kwargs is None else donor_kwargs))
    with model.hooks(fwd_hooks=at_layers(put)):
        return run(model, tokens, **kwargs) if run else model(tokens, **kwargs)
