"""Fit a linear shortcut from every layer to the last one, and read the layers through it ("mat").

    A_l = (sum h_L h_l') (sum h_l h_l' + ridge n s I)^-1,    s = mean squared coordinate of h_l
    z_l = r(A_l h_l),    r = final norm, unembedding, and the soft cap of models that have one

States are before the final norm; h_L is the last one. A_L = identity, so z_L are the model's logits; with
every A_l the identity this is the logit lens. Fit on other texts than those you read, on more tokens
than the model is wide (or with a ridge): fewer are fitted exactly, whatever they are.

    maps = fit_linear_shortcut(model, batches)                               # [layer, d, d]
    top1 = read_linear_shortcut(model, tokens, maps, lambda z: z.argmax(-1))  # [layer, batch, pos]
"""

import torch


def at_every_layer(model, tokens, do, **kwargs):
    """Run the model; ``do(layer, state [batch, pos, d])`` behind every block."""

    def look(layer):
        return f"blocks.{layer}.hook_resid_post", lambda resid, hook: do(layer, resid)

    with model.hooks(fwd_hooks=[look(layer) for layer in range(len(model.blocks))]):
        model(tokens, **kwargs)


@torch.no_grad()
def fit_linear_shortcut(model, batches, ridge=1e-4):
    """Return ``A [layer, d, d]`` from an iterable of token ids ``[batch, pos]`` without padding."""
    xx, yx, n = 0, 0, 0
    for tokens in batches:
        states = {}
        at_every_layer(
            model, tokens, lambda layer, resid, seen=states: seen.update({layer: resid.clone()})
        )
        h = torch.stack([states[layer] for layer in sorted(states)]).flatten(1, 2).double()
        xx, yx, n = xx + h.mT @ h, yx + h[-1].T @ h, n + h.shape[1]
    eye = torch.eye(xx.shape[-1]).to(xx)
    if n < len(eye) and not ridge:
        raise ValueError(f"{n} states for maps of width {len(eye)}: give more text, or a ridge")
    penalty = ridge * xx.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None] * eye
    maps = torch.linalg.solve(xx + penalty, yx, left=False)
    maps[-1] = eye
    return maps.float()


@torch.no_grad()
def read_linear_shortcut(model, tokens, maps, read=lambda scores: scores.argmax(-1), **kwargs):
    """Return ``read(z_l)`` for every layer, stacked: ``[layer, batch, pos, ...]``."""
    seen, cap = {}, getattr(model.cfg, "output_logits_soft_cap", None) or 0
    after = (lambda z: cap * torch.tanh(z / cap)) if cap > 0 else (lambda z: z)
    after = model.adapter.apply_output_logits_transform if hasattr(model, "adapter") else after

    def look(layer, resid):
        carried = (resid.to(maps) @ maps[layer].T).to(resid)
        seen[layer] = read(after(model.unembed(model.ln_final(carried))))

    at_every_layer(model, tokens, look, **kwargs)
    return torch.stack([seen[layer] for layer in sorted(seen)])
