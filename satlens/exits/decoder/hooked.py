"""A HookedTransformer of TransformerLens 3 as a `Decoder`: its own tensors, no copies."""

from collections.abc import Callable
from typing import Any

import torch

from satlens.errors import ModelError
from satlens.exits.decoder.decoder import Block, Decoder
from satlens.exits.decoder.parts import ByHead, Linear, Mlp, Norm, Rotary, activation
from satlens.models.protocol import Host


def hooked(host: Host) -> Decoder:
    """A HookedTransformer of TransformerLens 3."""
    cfg = host.cfg
    refuse_hooked(cfg)
    rotary = cfg.positional_embedding_type == "rotary"
    positions = None if rotary else host.pos_embed.W_pos.detach()
    kv_heads = cfg.n_key_value_heads or cfg.n_heads

    def of(length: int) -> Rotary:
        attn = host.blocks[0].attn
        if length > len(attn.rotary_cos):
            sin, cos = attn.calculate_sin_cos_rotary(
                cfg.rotary_dim, length, base=cfg.rotary_base, dtype=cfg.dtype
            )
            where = host.embed.W_E.device
            return Rotary(cos.to(where), sin.to(where), cfg.rotary_adjacent_pairs)
        return Rotary(attn.rotary_cos, attn.rotary_sin, cfg.rotary_adjacent_pairs)

    return Decoder(
        "HookedTransformer",
        host.embed.W_E.detach(),
        positions,
        tuple(hooked_block(block, cfg) for block in host.blocks),
        kv_heads,
        cfg.d_head,
        of if rotary else None,
    )


def hooked_block(block: Host, cfg: Any) -> Block:
    """One block of a HookedTransformer."""
    attn = block.attn
    grouped = cfg.n_key_value_heads is not None
    names = ("W_Q", "_W_K", "_W_V") if grouped else ("W_Q", "W_K", "W_V")
    weights = tuple(getattr(attn, name).detach() for name in names)
    biases = tuple(getattr(attn, name.replace("W", "b")).detach() for name in names)
    mlp = None
    if not cfg.attn_only:
        part = block.mlp
        act = activation(cfg.act_fn, part.act_fn)
        up, down = part.W_in.detach().T, Linear(part.W_out.detach().T, part.b_out.detach())
        if cfg.gated_mlp:
            gate = Linear(part.W_gate.detach().T)
            mlp = Mlp(Linear(up), down, act, gate, part.b_in.detach())
        else:
            mlp = Mlp(Linear(up, part.b_in.detach()), down, act)
    heads = [getattr(attn, name, None) for name in ("q_norm", "k_norm")]
    q_norm, k_norm = (None if head is None else hooked_norm(head, cfg) for head in heads)
    return Block(
        hooked_norm(block.ln1, cfg),
        ByHead(weights, biases),
        Linear(attn.W_O.detach().flatten(0, 1).T, attn.b_O.detach()),
        None if cfg.attn_only else hooked_norm(block.ln2, cfg),
        mlp,
        1 / attn.attn_scale,
        parallel=cfg.parallel_attn_mlp,
        window=cfg.window_size if attn.attn_type == "local" else None,
        q_norm=q_norm,
        k_norm=k_norm,
    )


def hooked_norm(module: Host, cfg: Any) -> Norm:
    """TransformerLens' norms, by their class: LayerNorm, RMSNorm, those without weights, or none."""
    name = type(module).__name__
    if name == "Identity":
        return Norm("none")
    weight, bias = (getattr(module, part, None) for part in ("w", "b"))
    weight, bias = (None if part is None else part.detach() for part in (weight, bias))
    wide = torch.float64 if cfg.dtype == torch.float64 else torch.float32
    kind = "rms" if name.startswith("RMS") else "layer"
    return Norm(kind, module.eps, weight, bias, wide)


OTHERWISE: dict[str, Callable[[Any], Any]] = {
    "positional_embedding_type": lambda value: value not in ("standard", "rotary"),
    "normalization_type": lambda value: value not in ("LN", "LNPre", "RMS", "RMSPre", None),
    "act_fn": lambda value: str(value).endswith("_ln"),
    "attn_scores_soft_cap": lambda value: (value or 0) > 0,
    "num_experts": bool,
    "use_normalization_before_and_after": bool,
    "use_attention_sinks": bool,
    "clip_qkv": lambda value: value is not None,
    "use_logn_attn": bool,
    "use_dynamic_ntk_rope": bool,
    "load_in_4bit": bool,
    "post_embedding_ln": bool,
    "rotary_base_local": lambda value: value is not None,
    "original_architecture": lambda value: str(value).startswith("Olmo"),
}
"""Settings of a HookedTransformer, and when they make blocks that `hooked_block` does not know."""


def refuse_hooked(cfg: Any) -> None:
    """Refuse settings that make other blocks; old versions lack some of them."""
    for name, other in OTHERWISE.items():
        if hasattr(cfg, name) and other(getattr(cfg, name)):
            raise ModelError(
                f"generate does not know a HookedTransformer with {name}={getattr(cfg, name)!r}. Use the "
                "model's own generate."
            )
