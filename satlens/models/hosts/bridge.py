"""TransformerBridge hosts (TransformerLens 3.9 and 4.x): decoders, BERT, T5, BART, images, speech.

    kind                states                              readout
    decoder-only        blocks.l.hook_resid_post            transform(unembed(ln_final(h)))
    BERT                blocks.l.hook_resid_post            original_model.cls(h)
    T5                  decoder_blocks.l.hook_resid_post    unembed(decoder_ln_final(h) d^-1/2)
    BART                decoder_blocks.l.hook_resid_post    unembed(h)
    image classifier    blocks.l.hook_resid_post            unembed(ln_final(h)), at the class token
    HuBERT, wav2vec2    blocks.l.hook_resid_post            see `satlens.models.hosts.ctc`

``transform`` is the adapter's own (Gemma's soft cap, Cohere's and Granite's logit scale). T5 v1.1
does not scale. The number of blocks is the length of the stack that is hooked:
``cfg.n_layers`` counts T5's ENCODER.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn

from satlens.errors import ModelError
from satlens.models.hosts.ctc import ctc_bridge
from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.vision import image_parts
from satlens.models.inputs.pairs import pair_batches
from satlens.models.inputs.text import example_ids, token_batches
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import (
    LinearReadout,
    Readout,
    chain,
    head_of,
    scaled,
    soft_cap,
)


def bridge(host: Host) -> ResidualModel:
    """A TransformerBridge as a `ResidualModel`."""
    if hasattr(host, "decoder_blocks"):
        return encoder_decoder_bridge(host)
    if getattr(host.cfg, "is_visual_model", False):
        return image_bridge(host)
    if getattr(host.cfg, "is_audio_model", False):
        return ctc_bridge(host, name_of(host))
    return token_bridge(host)


def name_of(host: Host) -> str:
    """The bridge's name, or its model's class."""
    return getattr(host.cfg, "model_name", None) or type(host.original_model).__name__


def states_of(stack: Iterable[Host]) -> tuple[nn.Module, ...]:
    """One hook point a block."""
    return tuple(block.hook_resid_post for block in stack)


def has(host: Host, name: str) -> bool:
    """Whether the bridge has this component (some adapters raise more than AttributeError)."""
    return name in host._modules


def token_bridge(host: Host) -> ResidualModel:
    """Decoder-only and BERT-like bridges."""

    def forward(batch: Batch) -> Tensor:
        return host(batch.args["input_ids"], attention_mask=batch.args["attention_mask"])

    if not has(host, "blocks"):
        raise ModelError(
            f"The bridge {name_of(host)} has neither blocks nor decoder_blocks but "
            f"{sorted(host._modules)}; build a satlens.models.ResidualModel by hand."
        )
    cfg = host.cfg
    # TransformerLens 3.9 calls BERT's loss causal; a masked-language head says what it is.
    bidirectional = masked_head(host) is not None or not getattr(
        host.adapter, "supports_causal_loss", True
    )
    n_outputs = unembedding_rows(host)
    vocabulary = n_outputs if cfg.d_vocab in (None, -1) else cfg.d_vocab
    return ResidualModel(
        host=host,
        name=name_of(host),
        hook_points=states_of(host.blocks),
        readout=token_readout(host),
        forward=forward,
        batches=partial(
            token_batches,
            tokenizer=host.tokenizer,
            context=context_of(cfg),
            vocabulary=vocabulary,
            prepend_bos=getattr(cfg, "default_prepend_bos", True),
            bidirectional=bidirectional,
            device=device_of(host),
        ),
        d_model=cfg.d_model,
        n_outputs=n_outputs,
        context=context_of(cfg),
        tokenizer=host.tokenizer,
        example=[example_ids(vocabulary, context_of(cfg))],
        causal=not bidirectional,
        reads="masked text" if bidirectional else "text",
    )


def token_readout(host: Host) -> Readout:
    """What the bridge's own model does between its last block and its logits."""
    head = masked_head(host)
    if head is not None:
        return masked_readout(head)
    before: tuple[Readout, ...] = (host.ln_final,) if has(host, "ln_final") else ()
    config = getattr(host.original_model, "config", None)
    if getattr(config, "residual_in_fp32", False):  # as in `hooked_hf`
        dtype = next(host.unembed.parameters()).dtype
        before = (*before, lambda x: x.to(dtype))
    return LinearReadout(before, host.unembed, (output_transform(host),))


def masked_head(host: Host) -> nn.Module | None:
    """A masked-language head (dense layer, activation, norm, output), as BERT has one."""
    model = host.original_model
    return next(
        (getattr(model, name) for name in ("cls", "mlm_head") if hasattr(model, name)), None
    )


def masked_readout(head: nn.Module) -> Readout:
    """The head as transform and decoder where it has Hugging Face's parts, else whole."""
    parts = getattr(head, "predictions", None)
    transform, decoder = getattr(parts, "transform", None), getattr(parts, "decoder", None)
    if isinstance(transform, nn.Module) and decoder is not None and head_of(decoder) is not None:
        return LinearReadout((transform,), decoder)
    return chain(head)


def output_transform(host: Host) -> Readout:
    """What comes after the unembedding: the adapter's transform, or the configured soft cap."""
    transform = getattr(host.adapter, "apply_output_logits_transform", None)
    return transform or soft_cap(getattr(host.cfg, "output_logits_soft_cap", None))


def unembedding_rows(host: Host) -> int:
    """Number of outputs, from the host's output layer where it has one, else from its settings."""
    get = getattr(host.original_model, "get_output_embeddings", None)
    layer = get() if callable(get) else None
    weight = getattr(layer, "weight", None)
    return int(host.cfg.d_vocab) if weight is None else int(weight.shape[0])


def context_of(cfg: Any) -> int | None:
    """The context, or None where the settings give none that binds (T5, Mamba)."""
    if getattr(cfg, "is_stateful", False) and cfg.positional_embedding_type == "none":
        return None  # a recurrence reads on; TransformerLens puts in 2048 where nothing is said
    n_ctx = getattr(cfg, "n_ctx", None)
    return int(n_ctx) if n_ctx and n_ctx > 0 else None


def encoder_decoder_bridge(host: Host) -> ResidualModel:
    """T5- and BART-like bridges, seen as their decoder."""
    config = host.original_model.config

    def forward(batch: Batch) -> Tensor:
        args = dict(batch.args)
        return host(args.pop("input_ids"), attention_mask=args.pop("attention_mask"), **args)

    steps: list[Readout] = []
    if has(host, "decoder_ln_final"):
        steps.append(host.decoder_ln_final)
        steps.append(scaled(host.cfg.d_model**-0.5 if scales_states(config) else 1.0))
    positions = getattr(config, "max_position_embeddings", None)
    return ResidualModel(
        host=host,
        name=name_of(host),
        hook_points=states_of(host.decoder_blocks),
        readout=LinearReadout(tuple(steps), host.unembed, (output_transform(host),)),
        forward=forward,
        batches=partial(
            pair_batches,
            tokenizer=host.tokenizer,
            context=positions,
            vocabulary=config.vocab_size,
            decoder_start=config.decoder_start_token_id,
            device=device_of(host),
        ),
        d_model=host.cfg.d_model,
        n_outputs=unembedding_rows(host),
        context=positions,
        tokenizer=host.tokenizer,
        example=[(example_ids(config.vocab_size), example_ids(config.vocab_size))],
        reads="pairs",
    )


def scales_states(config: Any) -> bool:
    """Whether a T5-like model multiplies its last state by ``d^-1/2``: v1.0 does, with its tied head.

    transformers >= 5.13 ties every T5 and keeps the scale apart; MT5 has none, tied or not.
    """
    if config.model_type == "mt5" or "t5" not in config.model_type:  # mBART has a final norm alone
        return False
    return bool(getattr(config, "scale_decoder_outputs", config.tie_word_embeddings))


def image_bridge(host: Host) -> ResidualModel:
    """ViT- and DeiT-like image classifiers; one image, one real position (the class token)."""
    config = host.original_model.config
    missing = [name for name in ("blocks", "ln_final", "unembed") if not has(host, name)]
    if missing:
        raise ModelError(
            f"The bridge {name_of(host)} reads images and has no {' and no '.join(missing)}; satlens.wrap "
            "takes image classifiers (a model with a class token and a linear head)."
        )
    points = states_of(host.blocks)
    return ResidualModel(
        host=host,
        name=name_of(host),
        hook_points=points,
        readout=LinearReadout((host.ln_final,), host.unembed),
        d_model=host.cfg.d_model,
        **image_parts(host, points[-1], host, config),
    )
