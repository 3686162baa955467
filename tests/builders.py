"""Small random models for tests, built offline; the global random state is left alone."""

import contextlib
import copy
import importlib.util
import io
import warnings
from typing import Any

import torch
from torch import nn

HAS_HOOKED = importlib.util.find_spec("transformer_lens.HookedTransformer") is not None
NO_HOOKED = (
    "HookedTransformer, HookedEncoder and HookedEncoderDecoder were removed in TransformerLens 4"
)


def random_hooked(
    n_layers: int = 4,
    d: int = 32,
    vocab: int = 50,
    seed: int = 0,
    *,
    n_ctx: int = 32,
    heads: int = 4,
    scale: float = 3.0,
    dtype: torch.dtype = torch.float32,
    **kw: Any,
) -> nn.Module:
    """A HookedTransformer on TransformerLens 3, else a GPT-2 bridge, with random weights.

    ``scale`` multiplies the matrices of the blocks, so that blocks change the ranking; ``kw`` goes to
    HookedTransformerConfig (and is refused where there is none).
    """
    if not HAS_HOOKED:
        if kw:
            raise TypeError(f"{sorted(kw)} need a HookedTransformer. {NO_HOOKED}.")
        return random_bridge(
            n_layers, d, vocab, seed, n_ctx=n_ctx, heads=heads, scale=scale, dtype=dtype
        )
    from transformer_lens.config.hooked_transformer_config import HookedTransformerConfig
    from transformer_lens.HookedTransformer import HookedTransformer

    settings = dict(
        n_layers=n_layers, d_model=d, d_vocab=vocab, n_ctx=n_ctx, n_heads=heads,
        d_head=d // heads, d_mlp=4 * d, act_fn="gelu_new", normalization_type="LN",
        device="cpu", dtype=dtype, model_name="random",
    )  # fmt: skip
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "HookedTransformer is deprecated")
        torch.manual_seed(seed)
        model = HookedTransformer(HookedTransformerConfig(**(settings | kw)))
        if model.tokenizer is None:
            model.unembed.W_U.data.normal_(0, d**-0.5)
    grow(model.blocks, scale)
    return model.eval()


def grow(blocks: nn.Module, scale: float) -> None:
    """Multiply the matrices of the blocks in place; norms and biases stay."""
    for name, parameter in blocks.named_parameters():
        if parameter.ndim >= 2 and "ln" not in name:
            parameter.data.mul_(scale)


def random_hf(family: str = "gpt2", seed: int = 0, scale: float = 3.0, **kw: Any) -> nn.Module:
    """A small random Hugging Face causal language model: one of the keys of `hf_configs`."""
    from transformers import AutoModelForCausalLM

    config = hf_config(family, **kw)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        inside = any(part.isdigit() for part in name.split("."))
        if inside and parameter.ndim >= 2:
            parameter.data.mul_(scale)
    return model.eval()


def hf_config(family: str, **kw: Any) -> Any:
    """A small configuration of a family; ``layers, d, vocab, heads, n_ctx`` mean the same in all."""
    import transformers as hf

    layers, d, vocab = kw.pop("layers", 3), kw.pop("d", 32), kw.pop("vocab", 50)
    heads, n_ctx = kw.pop("heads", 4), kw.pop("n_ctx", 32)
    common = dict(
        vocab_size=vocab, hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=n_ctx, intermediate_size=2 * d, bos_token_id=0, eos_token_id=0,
        pad_token_id=None,
    )  # fmt: skip
    if family == "gpt2":
        own = dict(vocab_size=vocab, n_embd=d, n_layer=layers, n_head=heads, n_positions=n_ctx)
        return hf.GPT2Config(**(own | dict(bos_token_id=0, eos_token_id=0) | kw))
    if family == "gpt_neo":
        local = [[["global", "local"], (layers + 1) // 2]]
        if layers % 2:
            local = [[["global"], layers]]
        own = dict(
            vocab_size=vocab, hidden_size=d, num_layers=layers, num_heads=heads, window_size=8,
            max_position_embeddings=n_ctx, attention_types=local, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        return hf.GPTNeoConfig(**(own | kw))
    if family == "opt":
        own = dict(
            vocab_size=vocab, hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads,
            max_position_embeddings=n_ctx, ffn_dim=2 * d, word_embed_proj_dim=d, pad_token_id=1,
        )  # fmt: skip
        return hf.OPTConfig(**(own | kw))
    if family == "mamba":
        own = dict(vocab_size=vocab, hidden_size=d, num_hidden_layers=layers, state_size=4)
        return hf.MambaConfig(**(own | dict(bos_token_id=0, eos_token_id=0, pad_token_id=0) | kw))
    kinds = {
        "llama": hf.LlamaConfig,
        "gpt_neox": hf.GPTNeoXConfig,
        "gemma2": hf.Gemma2Config,
        "cohere": hf.CohereConfig,
        "granite": hf.GraniteConfig,
        "mistral": hf.MistralConfig,
        "phi": hf.PhiConfig,
    }
    if family in ("gemma2", "mistral"):
        common |= dict(head_dim=d // heads, num_key_value_heads=heads)
    return kinds[family](**(common | kw))


def to_bridge(model: nn.Module, name: str = "random") -> nn.Module:
    """A bridge around a copy of a Hugging Face model (building one changes what it is built on)."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    model = copy.deepcopy(model)
    built = build_bridge_from_module(
        model, type(model).__name__, hf_config=model.config, model_name=name
    )
    return built.eval()


def random_bridge(
    n_layers: int = 4,
    d: int = 32,
    vocab: int = 50,
    seed: int = 0,
    *,
    family: str = "gpt2",
    dtype: torch.dtype = torch.float32,
    **kw: Any,
) -> nn.Module:
    """A TransformerBridge of a small random decoder-only model."""
    model = random_hf(family, seed, layers=n_layers, d=d, vocab=vocab, **kw)
    return to_bridge(model.to(dtype))


def random_ids(vocab: int, lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Documents of random ids, none of them 0."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, vocab, (n,), generator=generator).tolist() for n in lengths]


def random_other(kind: str, seed: int = 0) -> nn.Module:
    """A bridge of a small random model that is no decoder-only one: a kind of `random_other_hf`."""
    return to_bridge(random_other_hf(kind, seed), kind)


def random_other_hf(kind: str, seed: int = 0) -> nn.Module:
    """A small random Hugging Face model that is no decoder-only one."""
    import transformers as hf

    small = dict(vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                 intermediate_size=64, max_position_embeddings=32)  # fmt: skip
    t5 = dict(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=3,
              num_heads=4, decoder_start_token_id=0)  # fmt: skip
    bart = dict(vocab_size=50, d_model=32, encoder_layers=3, decoder_layers=3,
                encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
                decoder_ffn_dim=64, max_position_embeddings=32, pad_token_id=1, bos_token_id=0,
                eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None)  # fmt: skip
    image = dict(image_size=16, patch_size=8, hidden_size=32, num_hidden_layers=3, num_labels=7,
                 num_attention_heads=4, intermediate_size=64)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = {
            "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**small)),
            "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**small)),
            "distilbert": lambda: hf.DistilBertForMaskedLM(
                hf.DistilBertConfig(
                    vocab_size=50,
                    dim=32,
                    n_layers=3,
                    n_heads=4,
                    hidden_dim=64,
                    max_position_embeddings=32,
                )  # fmt: skip
            ),
            "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(**t5)),
            "t5-untied": lambda: hf.T5ForConditionalGeneration(
                hf.T5Config(**t5, tie_word_embeddings=False, feed_forward_proj="gated-gelu")
            ),
            "mt5": lambda: hf.MT5ForConditionalGeneration(hf.MT5Config(**t5)),
            "bart": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**bart)),
            "mbart": lambda: hf.MBartForConditionalGeneration(hf.MBartConfig(**bart)),
            "marian": lambda: hf.MarianMTModel(hf.MarianConfig(**bart)),
            "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(**image)),
            "deit": lambda: hf.DeiTForImageClassification(hf.DeiTConfig(**image)),
        }[kind]()
        if kind == "marian":
            model.final_logits_bias.normal_()
        for parameter in model.parameters():  # norms and biases too, so that a wrong one shows
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def random_native(seed: int = 0) -> nn.Module:
    """A bridge around TransformerLens' own small model."""
    from transformer_lens.model_bridge import TransformerBridge

    shape = dict(n_layers=3, d_model=32, n_heads=4, d_head=8, d_mlp=64, d_vocab=50, n_ctx=32)
    return TransformerBridge.boot_native(dict(**shape, act_fn="gelu", seed=seed)).eval()


def random_hooked_encoder(kind: str, seed: int = 0) -> nn.Module:
    """A HookedEncoder ("bert") or HookedEncoderDecoder ("t5", tied) of TransformerLens 3."""
    from transformer_lens.config.hooked_transformer_config import HookedTransformerConfig
    from transformer_lens.HookedEncoder import HookedEncoder
    from transformer_lens.HookedEncoderDecoder import HookedEncoderDecoder

    settings = dict(n_layers=3, d_model=32, d_head=8, n_heads=4, d_mlp=64, d_vocab=50, n_ctx=32,
                    act_fn="gelu", device="cpu", attention_dir="bidirectional")  # fmt: skip
    if kind == "t5":
        settings |= dict(
            use_attn_scale=False, relative_attention_max_distance=16, act_fn="relu",
            relative_attention_num_buckets=8, positional_embedding_type="relative_positional_bias",
            decoder_start_token_id=0, tie_word_embeddings=True, normalization_type="RMS",
        )  # fmt: skip
    host = {"bert": HookedEncoder, "t5": HookedEncoderDecoder}[kind]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Hooked.* is deprecated", DeprecationWarning)
        with contextlib.redirect_stdout(io.StringIO()):  # it announces the device
            model = host(HookedTransformerConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        norm = 1.0 if name.endswith(".w") else 0.0
        parameter.data.normal_(norm, 0.2, generator=generator)
    return model.eval()
