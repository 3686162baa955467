"""Collect states with the stage they are in: what a stage probe learns from.

    s'_i = max(s_1 .. s_i),    h_l is in stage i where s'_{i-1} < l <= s'_i,    i = 1: l <= s'_1

So the stage is 1 + the number of leading ranks that are all fixed before layer l, up to k + 1. Layer
L-1 is left out: there every rank is fixed by definition.

    layer, _ = mark_saturation(model, tokens, k=3)
    h, stage, at, row = collect_stage_states(model, tokens, layer)      # group the folds by row

The stage rises with the layer, so take as many states of each stage within every layer before you
fit a probe. Otherwise its accuracy may come from the layer number alone.
"""

import torch


@torch.no_grad()
def collect_stage_states(model, tokens, layer, **kwargs):
    """Return ``(h [n, d], stage [n], layer [n], row [n])``, by layer, then row, then position.

    ``model`` is a HookedTransformer or a TransformerBridge of a decoder; ``tokens`` are ids
    ``[batch, pos]``; ``layer [batch, pos, k]`` are the saturation layers of these very tokens, rank 1
    first. ``row`` is the index of the text: states of one text belong on one side of a split.
    ``kwargs`` go to the model. Left out: positions where ``attention_mask`` is 0, and those
    with a negative number in ``layer`` (``layer[:, 0] = -1`` leaves out the first token).
    Hooks that are already on the model act first and stay; the ones added here are removed.
    """
    n_layers, layer = len(model.blocks), torch.as_tensor(layer)
    blocks = torch.arange(n_layers, device=layer.device)[:, None, None, None]
    stage = 1 + (layer.cummax(-1).values < blocks).sum(-1)  # [L, batch, pos]
    stage[:, (layer < 0).any(-1)] = 0
    if kwargs.get("attention_mask") is not None:
        stage[:, kwargs["attention_mask"].to(layer.device) == 0] = 0
    stage[-1] = 0
    states = {}

    def collect(block):
        def hook(resid, hook):
            states[block] = resid[(stage[block] > 0).to(resid.device)]

        return f"blocks.{block}.hook_resid_post", hook

    with model.hooks(fwd_hooks=[collect(block) for block in range(n_layers)]):
        model(tokens, **kwargs)
    at, row, _ = (stage > 0).nonzero().T
    return torch.cat([states[block] for block in range(n_layers)]), stage[stage > 0], at, row
