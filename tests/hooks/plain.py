"""The same interventions with PyTorch's own hooks, one place at a time: what the recipes are held to."""

import torch


def output(out):
    """A block's state: some hosts give a tuple."""
    return out if isinstance(out, torch.Tensor) else out[0]


@torch.no_grad()
def plain_run(model, tokens, edit=None):
    """``(states [layer, batch, pos, d], logits)``; edit = (layer, row, pos, function of the state)."""
    states, handles = {}, []

    def after(block):
        def hook(module, args, out):
            state = output(out)
            if edit and edit[0] == block:
                _, row, pos, change = edit
                state = state.clone()
                state[row, pos] = change(state[row, pos])
            states[block] = state.clone()
            return state if isinstance(out, torch.Tensor) else (state, *out[1:])

        return hook

    try:
        for block, module in enumerate(model.blocks):
            handles.append(module.register_forward_hook(after(block)))
        logits = model(tokens)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([states[block] for block in range(len(model.blocks))]), logits


def plain_stage(saturation, layer):
    """The stage of a state after ``layer``, rank by rank: ``saturation`` is a list, rank 1 first."""
    stage = 1
    for rank in range(len(saturation)):
        if any(saturation[above] >= layer for above in range(rank + 1)):
            return stage
        stage += 1
    return stage
