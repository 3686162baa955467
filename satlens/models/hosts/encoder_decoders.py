"""Bare Hugging Face encoder-decoders, seen as their decoder: T5, MT5, BART, mBART, Marian.

    kind              state after block l       readout
    T5, MT5           decoder.block.l           lm_head(final_layer_norm(h) d^-1/2)
    BART, Marian      model.decoder.layers.l    lm_head(h) + final_logits_bias
    mBART             model.decoder.layers.l    lm_head(layer_norm(h)) + final_logits_bias

MT5 and T5 v1.1 do not scale. A block of BART's or Marian's ends in a norm (post-norm), and no final one
follows: the state is behind it. The source is read once by the encoder; what is followed is the decoder's
stream at the positions of the target (`satlens.models.inputs.pairs`). ``config.num_layers`` of T5 counts the
encoder: the stack itself is counted.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from satlens.models.hosts.bridge import scales_states
from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.hugging_face import HookedModule, residual_model
from satlens.models.inputs.pairs import pair_batches
from satlens.models.inputs.text import example_ids
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, Readout, chain, logits_of, scaled


def t5(host: Host) -> ResidualModel:
    """T5ForConditionalGeneration and MT5ForConditionalGeneration."""
    scale = host.config.d_model**-0.5 if scales_states(host.config) else 1.0
    readout = LinearReadout((host.decoder.final_layer_norm, scaled(scale)), host.lm_head)
    return decoder_of(host, host.decoder.block, readout, None)


def bart(host: Host) -> ResidualModel:
    """BartForConditionalGeneration, MBartForConditionalGeneration and MarianMTModel."""
    decoder = host.model.decoder
    norm = getattr(decoder, "layer_norm", None)  # mBART's; the others have no final norm
    before: tuple[Readout, ...] = () if norm is None else (norm,)
    readout: Readout = LinearReadout(before, host.lm_head)
    if bool(host.final_logits_bias.any()):
        # Outside the head module, so not of the form that is known as linear: scored as it is.
        readout = chain(*before, host.lm_head, lambda z: z + host.final_logits_bias)
    return decoder_of(host, decoder.layers, readout, host.config.max_position_embeddings)


PAIRS: dict[str, Callable[[nn.Module], ResidualModel]] = {
    "T5ForConditionalGeneration": t5,
    "MT5ForConditionalGeneration": t5,
    "BartForConditionalGeneration": bart,
    "MBartForConditionalGeneration": bart,
    "MarianMTModel": bart,
}
"""Adapters by the name of the class."""


def decoder_of(
    host: Host, layers: nn.ModuleList, readout: Readout, context: int | None
) -> ResidualModel:
    """An encoder-decoder as a `ResidualModel` of its decoder's layers."""
    hooked = HookedModule(host, layers)
    config = host.config

    def forward(batch: Batch) -> Tensor:
        return logits_of(hooked(**batch.args, use_cache=False))

    return residual_model(
        hooked,
        readout=readout,
        forward=forward,
        batches=partial(
            pair_batches,
            tokenizer=getattr(host, "tokenizer", None),
            context=context,
            vocabulary=config.vocab_size,
            decoder_start=config.decoder_start_token_id,
            device=device_of(host),
        ),
        d_model=config.d_model,
        n_outputs=host.lm_head.weight.shape[0],
        context=context,
        example=[(example_ids(config.vocab_size), example_ids(config.vocab_size))],
        reads="pairs",
    )
