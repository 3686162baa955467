"""Gate a block per token: each token says how much of it is added (Token-Selective Attention).

    h' = h_{l-1} + (1 - p) attention_l(...),    h_l = h' + (1 - p) mlp_l(...),    p [batch, pos]

    skip = {l: router for l in range(1, L)}                      # router: h_{l-1} -> p, or p itself
    logits, p = gate_block_per_token(model, tokens, skip)        # p {l: [batch, pos]}

p = 0 is the model as it is, p = 1 makes block l the identity for that token; the other tokens still
attend to its keys and values. `lambda h: (router(h) > 0.5).float()` skips for good, and only that
could save anything: 1 - p of something that was computed is no saving. Count what would be saved as
1 - (1 + (L - 1) mean(1 - p)) / L with blocks 1 .. L-1 gated, and compare with p given at random.
"""


def gate_block_per_token(model, tokens, skip, run=None, **kwargs):
    """Return the logits ``[batch, pos, vocab]`` and the p that were used, by block.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder. ``skip`` gives for some
    blocks p ``[batch, pos]``, or a function of the state before the block ``[batch, pos, d]``
    (blocks from 1 on) that gives it; gradients flow through both. With ``run(model, tokens,
    **kwargs)``, another recipe, what it gives stands in place of the logits.
    Hooks that are already on the model act first and stay; the ones added here are removed.
    """
    for layer, p in skip.items():
        if not int(callable(p)) <= layer < len(model.blocks):
            raise ValueError(
                f"block {layer}: the model has 0 .. {len(model.blocks) - 1}, and 1 .. can be gated by a "
                "function of the state before"
            )
    used = {layer: p for layer, p in skip.items() if not callable(p)}

    def ask(layer):
        def hook(resid, hook):
            used[layer] = skip[layer](resid)

        return f"blocks.{layer - 1}.hook_resid_post", hook

    def gate(layer, part):
        def hook(added, hook):
            return added * (1 - used[layer].to(added.device)).to(added.dtype)[..., None]

        return f"blocks.{layer}.hook_{part}_out", hook

    hooks = [ask(layer) for layer, p in skip.items() if callable(p)]
    hooks += [gate(layer, part) for layer in skip for part in ("attn", "mlp")]
    with model.hooks(fwd_hooks=hooks):
        out = run(model, tokens, **kwargs) if run else model(tokens, **kwargs)
    return out, used
