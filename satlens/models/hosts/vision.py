"""Hugging Face image classifiers without a bridge: ViT and DeiT, and what is built like them.

    state     after every block of the encoder, at the class token (position 0)
    readout   classifier(layernorm(h)): the model's own final norm belongs to every layer's readout

transformers 5 keeps the blocks at ``vit.layers``, 4.5x at ``vit.encoder.layer``.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from satlens.errors import ModelError
from satlens.models.hosts.hooked import device_of
from satlens.models.hosts.hugging_face import HookedModule, blocks_at, has_submodule, residual_model
from satlens.models.inputs.image_batches import image_batches
from satlens.models.inputs.image_processor import processor_of
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, Readout, logits_of

ENCODERS = ("vit", "deit")
BLOCKS = ("layers", "encoder.layer")


def check_heads(host: nn.Module) -> None:
    """Refuse DeiT with its teacher's head: no one state gives its answer.

    Raises:
        ModelError: the model averages two heads at two positions.
    """
    if hasattr(host, "distillation_classifier"):
        raise ModelError(
            f"{type(host).__name__} averages two heads, at the class token and at the distillation token, "
            "so no single state gives its answer. Load the checkpoint as DeiTForImageClassification "
            "(one head) and pass that to satlens.wrap."
        )


def hf_image_classifier(host: Host, readout: Readout | None = None) -> ResidualModel:
    """A ViT- or DeiT-like image classifier as a `ResidualModel`; one image, one real position.

    Args:
        host: the model, as ``AutoModelForImageClassification`` gives it; its image processor, if any, as
            ``host.processor`` (or ``host.image_processor``).
        readout: state ``[..., d]`` -> logits, for a head that is not ``classifier``.

    Raises:
        ModelError: no such blocks, norm or head, or two heads.
    """
    check_heads(host)
    encoder, blocks = find_encoder(host, need_head=readout is None)
    hooked = HookedModule(host, blocks)
    return residual_model(
        hooked,
        readout=readout or LinearReadout((encoder.layernorm,), host.classifier),
        d_model=host.config.hidden_size,
        tokenizer=None,
        **image_parts(hooked, hooked.points[-1], host, host.config),
    )


def image_parts(run: nn.Module, last: nn.Module, host: nn.Module, config: Any) -> dict[str, Any]:
    """What every image classifier has in common: forward, batches, outputs and an example.

    Args:
        run: what is called with pixels, ``last`` being its last hook point.
        host: whose weights and processor they are.
    """
    shape = image_shape(config)
    n_positions = stream_length(run, last, shape)

    def forward(batch: Batch) -> Tensor:
        return along_stream(logits_of(run(batch.args["pixel_values"])), n_positions)

    return {
        "forward": forward,
        "batches": partial(
            image_batches,
            shape=shape,
            n_positions=n_positions,
            dtype=next(host.parameters()).dtype,
            device=device_of(host),
            processor=processor_of(host),
        ),
        "n_outputs": config.num_labels,
        "example": example_image(shape),
        "reads": "images",
    }


def find_encoder(host: Host, need_head: bool) -> tuple[Host, nn.ModuleList]:
    """The encoder and its blocks, where the model is built as ViT is."""
    for name in ENCODERS:
        for blocks in BLOCKS:
            parts = [f"{name}.{blocks}"] + [f"{name}.layernorm", "classifier"] * need_head
            if all(has_submodule(host, part) for part in parts) and (
                not need_head or isinstance(host.classifier, nn.Linear)
            ):
                return host.get_submodule(name), blocks_at(host, f"{name}.{blocks}")
    raise ModelError(
        f"{type(host).__name__} reads images and is not built like ViT or DeiT with a linear classifier. "
        f"Looked for: {' or '.join(ENCODERS)}, with {' or '.join(BLOCKS)} and layernorm inside, and "
        "classifier. Build a satlens.models.ResidualModel by hand with your own hook points."
    )


def image_shape(config: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images that a model reads."""
    size = config.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return config.num_channels, height, width


def example_image(shape: tuple[int, int, int]) -> Tensor:
    """One image of pixels from -1 to 1, to run a model once on."""
    channels, height, width = shape
    return torch.linspace(-1, 1, channels * height * width).reshape(1, *shape)


def along_stream(logits: Tensor, n_positions: int) -> Tensor:
    """The one answer an image has, as a view along its positions, of which only the class token counts."""
    return logits[:, None].expand(-1, n_positions, -1)


@torch.no_grad()
def stream_length(host: nn.Module, point: nn.Module, shape: tuple[int, int, int]) -> int:
    """Positions of the residual stream for one image, seen on a blank one."""
    seen: list[int] = []
    handle = point.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[1]))
    parameter = next(host.parameters())
    try:
        host(torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device))
    finally:
        handle.remove()
    return seen[0]


def class_names(model: Any, ids: Iterable[int]) -> list[str]:
    """The names of a classifier's outputs, as its configuration has them; ``#id`` where it has none.

    Args:
        model: a Hugging Face module, a bridge, or a `ResidualModel` of one.
        ids: outputs, as in ``events.token``.
    """
    host = model.host if isinstance(model, ResidualModel) else model
    config = getattr(getattr(host, "original_model", host), "config", None)
    names = getattr(config, "id2label", None) or {}
    return [names.get(int(one), f"#{int(one)}") for one in ids]
