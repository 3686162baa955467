"""The stacked LSTM of `satlens.zoo.lstm` as a `ResidualModel`: the control that is no Transformer.

    state after layer l     h_l = h_{l-1} + LSTM_l(norm_l(h_{l-1}))
    readout                 head(norm(h))

No attention mask is passed on: an LSTM reads from left to right, and rows are padded on the right. It has no
context length: a document is one row, however long. torch counts no multiply-adds inside its LSTM, so
`satlens.exits` wants them told: ``cost=satlens.exits.Costs(...)``.
"""

from functools import partial

from torch import Tensor

from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.hugging_face import HookedModule, residual_model
from satlens.models.inputs.text import example_ids, token_batches
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout


def residual_lstm(host: Host) -> ResidualModel:
    """A `satlens.zoo.lstm.ResidualLSTM` as a `ResidualModel`."""
    hooked = HookedModule(host, host.layers)
    config = host.config

    def forward(batch: Batch) -> Tensor:
        return hooked(batch.args["input_ids"]).logits

    return residual_model(
        hooked,
        name=getattr(host, "name_or_path", type(host).__name__),
        readout=LinearReadout((host.norm,), host.head),
        forward=forward,
        batches=partial(
            token_batches,
            tokenizer=getattr(host, "tokenizer", None),
            vocabulary=config.vocab_size,
            device=device_of(host),
        ),
        d_model=config.hidden_size,
        n_outputs=config.vocab_size,
        example=[example_ids(config.vocab_size)],
        causal=True,
    )
