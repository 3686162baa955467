"""A Hugging Face model -> a HookedTransformer (TransformerLens 3) with the same weights, unprocessed.

Nothing is folded and nothing centred, so states and logits are the model's own. Settings come from
the model's configuration; one that the HookedTransformer cannot express gives None, and the caller
takes a bridge instead.
"""

import importlib.util
import warnings
from typing import Any

import torch
from torch import nn

from satlens.models.protocol import Host


def has_hooked_transformer() -> bool:
    """Whether this TransformerLens still has HookedTransformer (3.x); asked without importing it."""
    return importlib.util.find_spec("transformer_lens.HookedTransformer") is not None


def to_hooked_transformer(hf: Host, name: str, tokenizer: Any = None) -> nn.Module | None:
    """The HookedTransformer of a Hugging Face model, or None where there is none for it."""
    architecture = type(hf).__name__
    if architecture not in SETTINGS or not has_hooked_transformer():
        return None
    settings = SETTINGS[architecture](hf.config)
    if settings is None:
        return None
    from transformer_lens.config.hooked_transformer_config import HookedTransformerConfig
    from transformer_lens.HookedTransformer import HookedTransformer
    from transformer_lens.pretrained import weight_conversions
    from transformer_lens.utilities.activation_functions import SUPPORTED_ACTIVATIONS

    if settings["act_fn"] not in SUPPORTED_ACTIVATIONS:
        return None
    parameter = next(hf.parameters())
    common = dict(
        model_name=name, original_architecture=architecture, init_weights=False,
        d_vocab=hf.config.vocab_size, initializer_range=hf.config.initializer_range,
        device=str(parameter.device), dtype=parameter.dtype,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "HookedTransformer is deprecated", DeprecationWarning)
        cfg = HookedTransformerConfig.from_dict(common | settings)
        hooked = HookedTransformer(cfg, tokenizer=tokenizer, move_to_device=True)
    convert = getattr(weight_conversions, CONVERTERS[architecture])
    with torch.no_grad():
        hooked.load_and_process_state_dict(
            convert(hf, cfg),
            fold_ln=False,
            center_writing_weights=False,
            center_unembed=False,
            fold_value_biases=False,
        )
    return hooked.eval()


CONVERTERS = {
    "LlamaForCausalLM": "convert_llama_weights",
    "GPT2LMHeadModel": "convert_gpt2_weights",
    "GPTNeoXForCausalLM": "convert_neox_weights",
    "GPTNeoForCausalLM": "convert_neo_weights",
}


def rope(config: Any) -> dict[str, Any]:
    """The rotary settings, where old and new transformers keep them: theta, type, share, and scaling."""
    found = {"rope_theta": getattr(config, "rope_theta", 10000.0), "rope_type": "default"}
    scaling = getattr(config, "rope_scaling", None) or {}
    found |= scaling | (getattr(config, "rope_parameters", None) or {})
    return found


def llama_settings(config: Any) -> dict[str, Any] | None:
    """Llama, with or without grouped queries; rope types default and llama3."""
    rotary = rope(config)
    biased = getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)
    if biased or rotary["rope_type"] not in ("default", "llama3"):
        return None  # the weight conversion knows no biases, the host no other scaling
    heads = config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // heads
    grouped = config.num_key_value_heads != heads
    settings = dict(
        n_layers=config.num_hidden_layers, d_model=config.hidden_size, n_heads=heads, d_head=d_head,
        d_mlp=config.intermediate_size, n_ctx=config.max_position_embeddings,
        eps=config.rms_norm_eps, act_fn=config.hidden_act, gated_mlp=True, normalization_type="RMS",
        final_rms=True, positional_embedding_type="rotary", rotary_adjacent_pairs=False,
        rotary_dim=d_head, rotary_base=rotary["rope_theta"],
        n_key_value_heads=config.num_key_value_heads if grouped else None,
    )  # fmt: skip
    if rotary["rope_type"] == "llama3":
        settings |= dict(
            use_NTK_by_parts_rope=True,
            NTK_original_ctx_len=rotary["original_max_position_embeddings"],
            NTK_by_parts_low_freq_factor=rotary["low_freq_factor"],
            NTK_by_parts_high_freq_factor=rotary["high_freq_factor"],
            NTK_by_parts_factor=rotary["factor"],
        )
    return settings


def gpt2_settings(config: Any) -> dict[str, Any] | None:
    """GPT-2; not with cross-attention."""
    if config.add_cross_attention:
        return None
    return dict(
        n_layers=config.n_layer, d_model=config.n_embd, n_heads=config.n_head,
        d_head=config.n_embd // config.n_head, d_mlp=config.n_inner or 4 * config.n_embd,
        n_ctx=config.n_positions, eps=config.layer_norm_epsilon, act_fn=config.activation_function,
        use_attn_scale=config.scale_attn_weights, normalization_type="LN",
        scale_attn_by_inverse_layer_idx=config.scale_attn_by_inverse_layer_idx,
    )  # fmt: skip


def neox_settings(config: Any) -> dict[str, Any] | None:
    """GPT-NeoX and Pythia, parallel or sequential; not without attention biases."""
    rotary = rope(config)
    if not config.attention_bias or rotary["rope_type"] != "default":
        return None
    d_head = config.hidden_size // config.num_attention_heads
    share = rotary.get("partial_rotary_factor", getattr(config, "rotary_pct", 1.0))
    return dict(
        n_layers=config.num_hidden_layers, d_model=config.hidden_size,
        n_heads=config.num_attention_heads, d_head=d_head, d_mlp=config.intermediate_size,
        n_ctx=config.max_position_embeddings, eps=config.layer_norm_eps, act_fn=config.hidden_act,
        normalization_type="LN", parallel_attn_mlp=config.use_parallel_residual,
        positional_embedding_type="rotary", rotary_adjacent_pairs=False,
        rotary_dim=int(share * d_head), rotary_base=rotary["rope_theta"],
        default_prepend_bos=False,  # trained without, and so does TransformerLens
    )  # fmt: skip


def neo_settings(config: Any) -> dict[str, Any] | None:
    """GPT-Neo: global and local attention in turn, scores not divided by the root of the width."""
    return dict(
        n_layers=config.num_layers, d_model=config.hidden_size, n_heads=config.num_heads,
        d_head=config.hidden_size // config.num_heads,
        d_mlp=config.intermediate_size or 4 * config.hidden_size,
        n_ctx=config.max_position_embeddings, eps=config.layer_norm_epsilon,
        act_fn=config.activation_function, normalization_type="LN", use_attn_scale=False,
        use_local_attn=True, window_size=config.window_size, attn_types=config.attention_layers,
    )  # fmt: skip


SETTINGS = {
    "LlamaForCausalLM": llama_settings,
    "GPT2LMHeadModel": gpt2_settings,
    "GPTNeoXForCausalLM": neox_settings,
    "GPTNeoForCausalLM": neo_settings,
}
