"""HuBERT and wav2vec2 with a CTC head, bare Hugging Face modules and bridges: one answer a frame.

    state after block l     output of encoder.layers[l]
    readout                 lm_head(h);  pre-norm (do_stable_layer_norm): lm_head(layer_norm(h))

Every frame of a recording counts. Recordings of unequal length share a batch: attention leaves the padding
out, and where the first convolution is normalised over time (``feat_extract_norm="group"``) each row is
normalised over its own frames, so a recording is read as it would be alone.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from satlens.errors import ModelError
from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.hugging_face import HookedModule, name_of
from satlens.models.inputs.heard import heard_batches
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, logits_of


def ctc(host: Host) -> ResidualModel:
    """``HubertForCTC`` or ``Wav2Vec2ForCTC`` as a `ResidualModel`."""
    check_ctc(host)
    encoder = body_of(host).encoder
    hooked = HookedModule(host, encoder.layers)
    return ctc_model(
        host,
        host,
        name_of(host),
        hooked.points,
        encoder.layer_norm,
        host.lm_head,
        attached=hooked.attached,
    )


def ctc_bridge(host: Host, name: str) -> ResidualModel:
    """The same inside a TransformerBridge."""
    model = host.original_model
    check_ctc(model)
    points = tuple(block.hook_resid_post for block in host.blocks)
    return ctc_model(host, model, name, points, host.embed_ln, host.unembed)


def body_of(model: Host) -> Any:
    """The encoder model inside the one with the head."""
    return getattr(model, model.base_model_prefix)


def check_ctc(model: Host) -> None:
    """Refuse models without a CTC head, and parts that are not accounted for."""
    if not hasattr(model, "lm_head"):
        raise ModelError(
            f"{type(model).__name__} has no CTC head, so its states have no scores; load the ForCTC model."
        )
    for name in ("add_adapter", "conv_pos_batch_norm"):
        if getattr(model.config, name, False):
            raise ModelError(f"satlens.wrap does not take {type(model).__name__} with {name}=True.")


def ctc_model(
    host: Host,
    model: Host,
    name: str,
    points: tuple[nn.Module, ...],
    norm: nn.Module,
    head: nn.Module,
    attached: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> ResidualModel:
    """One `ResidualModel` of either kind of host around ``model``."""
    config = model.config
    parameter = next(model.parameters())

    def forward(batch: Batch) -> Tensor:
        mask = batch.args["sample_mask"]
        with attached(), normed_apart(model, mask):
            return logits_of(model(batch.args["input_values"], attention_mask=mask))

    processor = getattr(host, "processor", None)
    return ResidualModel(
        host=host,
        name=name,
        hook_points=points,
        readout=LinearReadout((norm,) if config.do_stable_layer_norm else (), head),
        forward=forward,
        batches=partial(
            heard_batches,
            extractor=getattr(processor, "feature_extractor", processor),
            convolutions=tuple(zip(config.conv_kernel, config.conv_stride, strict=True)),
            dtype=parameter.dtype,
            device=device_of(host),
        ),
        d_model=config.hidden_size,
        n_outputs=config.vocab_size,
        attached=attached,
        example={"input_values": torch.linspace(-1, 1, 4_000)[None] ** 3},
        reads="recordings",
    )


@contextmanager
def normed_apart(model: Host, mask: Int[Tensor, "batch sample"]) -> Generator[None, None, None]:
    """Each row's first convolution normalised over its own frames, not over its padding."""
    if model.config.feat_extract_norm != "group" or bool(mask.all()):
        yield
        return
    extractor = body_of(model).feature_extractor
    extractor = getattr(extractor, "original_component", extractor)
    kernel, stride = model.config.conv_kernel[0], model.config.conv_stride[0]
    lengths = [(n - kernel) // stride + 1 for n in mask.sum(1).tolist()]

    def apart(norm: nn.GroupNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        out = torch.zeros_like(output)
        for row, n in enumerate(lengths):
            out[row, :, :n] = norm.forward(inputs[0][row : row + 1, :, :n])[0]
        return out

    handle = extractor.conv_layers[0].layer_norm.register_forward_hook(apart)
    try:
        yield
    finally:
        handle.remove()
