"""Patching by hand: plain PyTorch hooks, one run at a time, whole rows, every layer ranked."""

import torch


@torch.no_grad()
def run_by_hand(host, ids, column, put=None):
    """States ``[layer, d]`` and logits at one column of one row; ``put = (layer, state)``."""
    states, handles = {}, []
    for layer, block in enumerate(host.blocks):

        def hook(module, inputs, output, layer=layer):
            if put is not None and put[0] == layer:
                output = output.clone()
                output[0, column] = put[1]
            states[layer] = output[0, column].clone()
            return output

        handles.append(block.hook_resid_post.register_forward_hook(hook))
    logits = host(torch.tensor([ids]))[0, column]
    for handle in handles:
        handle.remove()
    return torch.stack([states[layer] for layer in range(len(states))]), logits


@torch.no_grad()
def saturation_by_hand(host, states, logits, k):
    """Saturation layers and final ranking, from a ranking of every layer."""
    final = logits.sort(descending=True, stable=True).indices[:k]
    held = []
    for state in states[:-1]:
        scores = host.unembed(host.ln_final(state[None, None]))[0, 0]
        held.append(scores.sort(descending=True, stable=True).indices[:k] == final)
    layers = []
    for rank in range(k):
        layer = len(states) - 1
        while layer > 0 and bool(held[layer - 1][rank]):
            layer -= 1
        layers.append(layer)
    return layers, final.tolist()


def row_of(document, pos, context, bos=None):
    """The ids that the model reads for a position of a document, and its column."""
    if bos is None:
        start = pos // context * context
        return document[start : start + context], pos - start
    body, room = document[1:], context - 1
    window = (pos - 1) // room
    return [bos, *body[window * room : (window + 1) * room]], pos - window * room
