"""TransformerLens 3 hosts: HookedTransformer, HookedEncoder and HookedEncoderDecoder.

They are recognised by class name (`satlens.models.wrap`) and never imported: TransformerLens 4 does
not have them, and there even ``hasattr`` raises.

    host                    state after block l                       readout
    HookedTransformer       blocks.l.hook_resid_post                  cap(unembed(ln_final(h)))
    HookedEncoder (BERT)    blocks.l.hook_normalized_resid_post       unembed(mlm_head(h))
    HookedEncoderDecoder    decoder.l.hook_resid_post                 unembed(decoder_final_ln(h) d^-1/2)

BERT's block ends in a norm, and ``hook_resid_post`` comes before it. T5 scales by ``d^-1/2`` only with
tied embeddings.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from satlens.models.inputs.pairs import pair_batches
from satlens.models.inputs.text import example_ids, token_batches
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, scaled, soft_cap


def hooked_transformer(host: Host) -> ResidualModel:
    """A HookedTransformer as a `ResidualModel`."""

    def forward(batch: Batch) -> Tensor:
        mask = batch.args["attention_mask"]
        return host(batch.args["input_ids"], attention_mask=mask)

    cfg = host.cfg
    # A model without final norm has no ln_final at all.
    norm = getattr(host, "ln_final", None) or nn.Identity()
    return ResidualModel(
        host=host,
        name=cfg.model_name,
        hook_points=tuple(block.hook_resid_post for block in host.blocks),
        readout=LinearReadout((norm,), host.unembed, (soft_cap(cfg.output_logits_soft_cap),)),
        forward=forward,
        batches=partial(
            token_batches,
            tokenizer=host.tokenizer,
            context=cfg.n_ctx,
            vocabulary=cfg.d_vocab,
            prepend_bos=cfg.default_prepend_bos,
            bidirectional=cfg.attention_dir == "bidirectional",
            device=device_of(host),
        ),
        d_model=cfg.d_model,
        n_outputs=cfg.d_vocab_out,
        context=cfg.n_ctx,
        tokenizer=host.tokenizer,
        example=[example_ids(cfg.d_vocab, cfg.n_ctx)],
        causal=cfg.attention_dir == "causal",
        reads="text" if cfg.attention_dir == "causal" else "masked text",
    )


def hooked_encoder(host: Host) -> ResidualModel:
    """A HookedEncoder (BERT with its masked-language head) as a `ResidualModel`."""

    def forward(batch: Batch) -> Tensor:
        mask = batch.args["attention_mask"]
        return host(batch.args["input_ids"], one_zero_attention_mask=mask)

    cfg = host.cfg
    return ResidualModel(
        host=host,
        name=cfg.model_name,
        hook_points=tuple(block.hook_normalized_resid_post for block in host.blocks),
        readout=LinearReadout((host.mlm_head,), host.unembed),
        forward=forward,
        batches=partial(
            token_batches,
            tokenizer=host.tokenizer,
            context=cfg.n_ctx,
            vocabulary=cfg.d_vocab,
            bidirectional=True,
            device=device_of(host),
        ),
        d_model=cfg.d_model,
        n_outputs=cfg.d_vocab_out,
        context=cfg.n_ctx,
        tokenizer=host.tokenizer,
        example=[example_ids(cfg.d_vocab, cfg.n_ctx)],
        reads="masked text",
    )


def hooked_encoder_decoder(host: Host) -> ResidualModel:
    """A HookedEncoderDecoder (T5) as a `ResidualModel` of its decoder."""

    def forward(batch: Batch) -> Tensor:
        return host(
            batch.args["input_ids"],
            decoder_input=batch.args["decoder_input_ids"],
            one_zero_attention_mask=batch.args["attention_mask"],
        )

    cfg = host.cfg
    scale = cfg.d_model**-0.5 if cfg.tie_word_embeddings else 1.0
    return ResidualModel(
        host=host,
        name=cfg.model_name,
        hook_points=tuple(block.hook_resid_post for block in host.decoder),
        readout=LinearReadout((host.decoder_final_ln, scaled(scale)), host.unembed),
        forward=forward,
        batches=partial(
            pair_batches,
            tokenizer=host.tokenizer,
            vocabulary=cfg.d_vocab,
            decoder_start=cfg.decoder_start_token_id,
            device=device_of(host),
        ),
        d_model=cfg.d_model,
        n_outputs=cfg.d_vocab_out,
        tokenizer=host.tokenizer,
        example=[(example_ids(cfg.d_vocab), example_ids(cfg.d_vocab))],
        reads="pairs",
    )


def device_of(host: nn.Module) -> Any:
    """Where a model's first parameter is."""
    return next(host.parameters()).device
