"""Where each kind of host keeps the weights of its blocks, read as a `Decoder` of the same numbers.

Nothing is copied: weights are the host's tensors or views of them, so an edited weight is the one that is
used. Hosts are told by the names of their classes and never imported; in a bridge the modules of the Hugging
Face model lie inside the bridge's own.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from satlens.errors import ModelError
from satlens.exits.decoder.decoder import Block, Decoder
from satlens.exits.decoder.hooked import hooked
from satlens.exits.decoder.parts import Joint, Linear, Mlp, Norm, Rotary, Separate, activation
from satlens.models.fast_linear import product, taken
from satlens.models.hosts.convert import rope
from satlens.models.protocol import Host, ResidualModel

MOVING = ("dynamic", "longrope")
"""Rotary embeddings whose angles depend on the length of the text: keys that are kept would change."""


def decoder_of(model: ResidualModel) -> Decoder:
    """The host's blocks as a `Decoder`, unchecked (see `satlens.exits.decoder.check`).

    Raises:
        ModelError: an encoder, or a kind that is not known; the message names those that are.
    """
    host = cast(Host, model.host)
    if not model.causal:
        raise ModelError(
            f"{model.name} ({type(host).__name__}) is no decoder-only language model: it does not write "
            "one token after another from what stands before."
        )
    names = [base.__name__ for base in type(host).__mro__]
    if "HookedTransformer" in names:
        return hooked(host)
    inside = host.original_model if "TransformerBridge" in names else host
    for name in (base.__name__ for base in type(inside).__mro__):
        if name in FAMILIES:
            try:
                return FAMILIES[name](inside)
            except AttributeError as cause:
                raise ModelError(
                    f"The blocks of {model.name} are not those of a {name}: {cause}. generate reads the "
                    "weights of plain modules; use the model's own generate."
                ) from cause
    raise ModelError(
        f"generate does not know the blocks of {type(inside).__name__}. It knows HookedTransformer, and as "
        f"Hugging Face models or bridges of them {', '.join(FAMILIES)}."
    )


def inner(module: Host) -> Host:
    """The host's own module behind a bridge's."""
    while (inside := module._modules.get("_original_component")) is not None:
        module = inside
    return module


def linear(module: Host) -> Linear:
    """A linear layer, or Hugging Face's Conv1D, which keeps its weight the other way round.

    Raises:
        ModelError: a layer of another kind, such as a quantised one or one with an adapter.
    """
    module = inner(module)
    turned = type(module).__name__ == "Conv1D"
    if not (turned or type(module) is nn.Linear) or not module.weight.is_floating_point():
        kind = type(module)
        raise ModelError(
            f"generate knows linear layers of torch.nn.Linear and Conv1D in floating point, and found a "
            f"{kind.__module__}.{kind.__name__} in their place. Use the model's own generate."
        )
    bias = None if module.bias is None else module.bias.detach()
    weight = taken(module)
    if weight is not None:
        return Linear(weight, bias, product)
    weight = module.weight.detach()
    return Linear(weight.T if turned else weight, bias)


def norm(module: Host) -> Norm:
    """A LayerNorm or an RMS norm of torch or transformers."""
    module = inner(module)
    weight = module.weight.detach()
    if isinstance(module, nn.LayerNorm):
        bias = None if module.bias is None else module.bias.detach()
        return Norm("layer", module.eps, weight, bias)
    return Norm("rms", getattr(module, "variance_epsilon", None) or module.eps, weight)


def weight_of(module: Host) -> Tensor:
    """The weight of an embedding."""
    return inner(module).weight.detach()


def tables(rotary: Host, like: Tensor) -> Callable[[int], Rotary]:
    """A Hugging Face model's angles, by its own module."""

    def of(length: int) -> Rotary:
        pos = torch.arange(length, device=like.device)[None]
        cos, sin = rotary(like[:1, None], pos)
        return Rotary(cos[0].to(like.dtype), sin[0].to(like.dtype))

    return of


def gpt2(model: Host) -> Decoder:
    """GPT-2, as transformers has it or as a bridge of it."""
    config, body = model.config, model.transformer
    if config.add_cross_attention:
        raise ModelError("generate does not know GPT-2 with cross-attention.")
    d_head = config.n_embd // config.n_head
    blocks = []
    for layer, outer in enumerate(body.h):
        block = inner(outer)
        mlp, attn = inner(block.mlp), block.attn
        scale = d_head**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        blocks.append(
            Block(
                norm(block.ln_1),
                joint(attn, lambda own: linear(own.c_attn), d_head),
                linear(inner(attn).c_proj),
                norm(block.ln_2),
                Mlp(linear(mlp.c_fc), linear(mlp.c_proj), activation(config.activation_function, mlp.act)),
                scale,
            )
        )  # fmt: skip
    return Decoder(
        "GPT-2", weight_of(body.wte), weight_of(body.wpe), tuple(blocks), config.n_head, d_head
    )


def joint(
    attn: Host, qkv: Callable[[Host], Linear], d_head: int, by_head: bool = False
) -> Joint | Separate:
    """Queries, keys and values of one layer; a bridge has split it, and runs the parts."""
    if all(name in attn._modules for name in ("q", "k", "v")):
        return Separate(linear(attn.q), linear(attn.k), linear(attn.v), d_head)
    return Joint(qkv(inner(attn)), d_head, by_head)


def neox(model: Host) -> Decoder:
    """GPT-NeoX (Pythia)."""
    config, body = model.config, model.gpt_neox
    d_head = config.hidden_size // config.num_attention_heads
    refuse_moving(config)
    embedding = weight_of(body.embed_in)
    blocks = []
    for outer in body.layers:
        block = inner(outer)
        mlp, attn = inner(block.mlp), block.attention
        blocks.append(
            Block(
                norm(block.input_layernorm),
                joint(attn, lambda own: linear(own.query_key_value), d_head, by_head=True),
                linear(inner(attn).dense),
                norm(block.post_attention_layernorm),
                Mlp(
                    linear(mlp.dense_h_to_4h),
                    linear(mlp.dense_4h_to_h),
                    activation(config.hidden_act, mlp.act),
                ),
                d_head**-0.5,
                parallel=config.use_parallel_residual,
            )
        )
    return Decoder(
        "GPT-NeoX", embedding, None, tuple(blocks), config.num_attention_heads, d_head,
        tables(inner(body.rotary_emb), embedding),
    )  # fmt: skip


def llama(model: Host) -> Decoder:
    """Llama and what is built like it: Mistral, Qwen2, Qwen3."""
    config, body = model.config, model.model
    refuse_moving(config)
    embedding = weight_of(body.embed_tokens)
    heads = config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // heads
    blocks = []
    for layer, outer in enumerate(body.layers):
        block = inner(outer)
        mlp, attn = inner(block.mlp), inner(block.self_attn)
        head_norms = [getattr(attn, name, None) for name in ("q_norm", "k_norm")]
        q_norm, k_norm = (None if part is None else norm(part) for part in head_norms)
        blocks.append(
            Block(
                norm(block.input_layernorm),
                Separate(linear(attn.q_proj), linear(attn.k_proj), linear(attn.v_proj), d_head),
                linear(attn.o_proj),
                norm(block.post_attention_layernorm),
                Mlp(
                    linear(mlp.up_proj), linear(mlp.down_proj),
                    activation(config.hidden_act, mlp.act_fn), linear(mlp.gate_proj),
                ),
                d_head**-0.5,
                window=window_of(config, layer),
                q_norm=q_norm,
                k_norm=k_norm,
            )
        )  # fmt: skip
    return Decoder(
        type(model).__name__.removesuffix("ForCausalLM"), embedding, None, tuple(blocks),
        config.num_key_value_heads, d_head, tables(inner(body.rotary_emb), embedding),
    )  # fmt: skip


def window_of(config: Any, layer: int) -> int | None:
    """How far back a layer reads, where the configuration limits it."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and kinds[layer] != "sliding_attention":
        return None
    if kinds is None and not getattr(config, "use_sliding_window", True):
        return None
    return getattr(config, "sliding_window", None)


def refuse_moving(config: Any) -> None:
    """Angles that change with the length of the text cannot be kept."""
    kind = rope(config)["rope_type"]
    if kind in MOVING:
        raise ModelError(
            f"generate keeps keys, and those of rotary embeddings of type {kind!r} change with the length "
            "of the text. Use the model's own generate."
        )


FAMILIES: dict[str, Callable[[Host], Decoder]] = {
    "GPT2LMHeadModel": gpt2,
    "GPTNeoXForCausalLM": neox,
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": llama,
    "Qwen2ForCausalLM": llama,
    "Qwen3ForCausalLM": llama,
}
