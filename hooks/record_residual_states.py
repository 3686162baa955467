"""Record the residual stream after every block, in one forward pass.

    h_l = the state after block l (`blocks.{l}.hook_resid_post`), l = 0 .. L-1

The embedding is no h_l. The last state is before the final norm. Memory: L * batch * pos * d
numbers.

    resid, logits = record_residual_states(model, model.to_tokens("The cat sat"))
    resid[3, 0, -1]          # the last position's state after block 3
"""

import torch


@torch.no_grad()
def record_residual_states(model, tokens, **kwargs):
    """Return ``(h [layer, batch, pos, d], logits [batch, pos, vocab])``.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder; ``tokens`` are ids
    ``[batch, pos]``; ``kwargs`` go to the model (with padding: ``attention_mask=...``).
    Hooks that are already on the model act first and stay; the ones added here are removed.
    """
    states = {}

    def record(layer):
        def hook(resid, hook):
            states[layer] = resid.detach().clone()

        return f"blocks.{layer}.hook_resid_post", hook

    n_layers = len(model.blocks)  # cfg.n_layers counts another stack on some bridges
    with model.hooks(fwd_hooks=[record(layer) for layer in range(n_layers)]):
        logits = model(tokens, **kwargs)
    return torch.stack([states[layer] for layer in range(n_layers)]), logits
