"""Bare Hugging Face masked language models: BERT, RoBERTa, DistilBERT.

    state after block l     what layer l returns: behind the norm that ends the block
    readout                 decoder(norm(act(dense(h)))): the whole masked-language head

These are post-norm models: a block is ``x = norm(x + attention(x)); x = norm(x + mlp(x))``. The sum in
front of the last norm is read by nothing else, neither the next block nor the head, and there is no final
norm: each block ends in its own. The hook point stands behind the layer module, so it sees the normed state.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import gelu

from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.hugging_face import HookedModule, residual_model
from satlens.models.inputs.text import example_ids, token_batches
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, logits_of


def bert(host: Host) -> ResidualModel:
    """BertForMaskedLM."""
    head = host.cls.predictions
    readout = LinearReadout((head.transform,), head.decoder)
    return encoder(host, host.bert.encoder.layer, readout, host.config.max_position_embeddings)


def roberta(host: Host) -> ResidualModel:
    """RobertaForMaskedLM and XLMRobertaForMaskedLM; positions begin behind the padding id."""
    head, config = host.lm_head, host.config
    readout = LinearReadout((head.dense, gelu, head.layer_norm), head.decoder)
    context = config.max_position_embeddings - config.pad_token_id - 1
    return encoder(host, host.roberta.encoder.layer, readout, context)


def distilbert(host: Host) -> ResidualModel:
    """DistilBertForMaskedLM."""
    steps = (host.vocab_transform, host.activation, host.vocab_layer_norm)
    readout = LinearReadout(steps, host.vocab_projector)
    layers = host.distilbert.transformer.layer
    return encoder(host, layers, readout, host.config.max_position_embeddings)


MASKED: dict[str, Callable[[nn.Module], ResidualModel]] = {
    "BertForMaskedLM": bert,
    "RobertaForMaskedLM": roberta,
    "XLMRobertaForMaskedLM": roberta,
    "DistilBertForMaskedLM": distilbert,
}
"""Adapters by the name of the class."""


def encoder(
    host: Host, layers: nn.ModuleList, readout: LinearReadout, context: int
) -> ResidualModel:
    """A masked language model as a `ResidualModel`."""
    hooked = HookedModule(host, layers)
    config = host.config

    def forward(batch: Batch) -> Tensor:
        return logits_of(hooked(**batch.args))

    return residual_model(
        hooked,
        readout=readout,
        forward=forward,
        batches=partial(
            token_batches,
            tokenizer=getattr(host, "tokenizer", None),
            context=context,
            vocabulary=config.vocab_size,
            bidirectional=True,
            device=device_of(host),
        ),
        d_model=config.hidden_size,
        n_outputs=config.vocab_size,
        context=context,
        example=[example_ids(config.vocab_size, context)],
        reads="masked text",
    )
