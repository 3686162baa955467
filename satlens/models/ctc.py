"""HuBERT and wav2vec2 with a CTC head, bare Hugging Face modules and bridges: one answer a frame.

    state after block l     output of encoder.layers[l]
    readout                 lm_head(h);  pre-norm (do_stable_layer_norm): lm_head(layer_norm(h))
    frames                  n -> (n - kernel) // stride + 1, by every convolution in turn

Every frame of a recording counts. Recordings of unequal length share a batch: attention leaves the padding
out, and where the first convolution is normalised over time (``feat_extract_norm="group"``) each row is
normalised over its own frames, so a recording is read as it would be alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from satlens.errors import InputError, ModelError
from satlens.models.audio import rate_of, read_audio
from satlens.models.batches import Batches
from satlens.models.hooked import device_of
from satlens.models.hooked_hf import HookedModule, folder_name
from satlens.models.inputs import strip_row
from satlens.models.protocol import Batch, ResidualModel
from satlens.models.readout import LinearReadout, logits_of


@dataclass(frozen=True)
class HeardRow:
    """One recording, and the frames that the model makes of it."""

    doc: int
    name: str
    wave: Float[Tensor, " sample"]
    real: Bool[Tensor, " frame"]

    def __len__(self) -> int:
        return len(self.real)


def ctc(host: Any) -> ResidualModel:
    """``HubertForCTC`` or ``Wav2Vec2ForCTC`` as a `ResidualModel`."""
    check_ctc(host)
    encoder = body_of(host).encoder
    hooked = HookedModule(host, encoder.layers)
    name = folder_name(getattr(host.config, "_name_or_path", "")) or type(host).__name__
    points = tuple(block.hook_resid_post for block in hooked.blocks)
    return ctc_model(
        host, host, name, points, encoder.layer_norm, host.lm_head, attached=hooked.attached
    )


def ctc_bridge(host: Any, name: str) -> ResidualModel:
    """The same inside a TransformerBridge."""
    model = host.original_model
    check_ctc(model)
    points = tuple(block.hook_resid_post for block in host.blocks)
    return ctc_model(host, model, name, points, host.embed_ln, host.unembed)


def body_of(model: Any) -> Any:
    """The encoder model inside the one with the head."""
    return getattr(model, model.base_model_prefix)


def check_ctc(model: Any) -> None:
    """Refuse models without a CTC head, and parts that are not accounted for."""
    if not hasattr(model, "lm_head"):
        raise ModelError(
            f"{type(model).__name__} has no CTC head, so its states have no scores; load the ForCTC model."
        )
    for name in ("add_adapter", "conv_pos_batch_norm"):
        if getattr(model.config, name, False):
            raise ModelError(f"satlens.wrap does not take {type(model).__name__} with {name}=True.")


def ctc_model(
    host: Any,
    model: Any,
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
    )


@contextmanager
def normed_apart(model: Any, mask: Int[Tensor, "batch sample"]) -> Iterator[None]:
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


def heard_batches(
    inputs: Any,
    batch_size: int,
    include_bos: bool = False,
    *,
    extractor: Any,
    convolutions: Sequence[tuple[int, int]],
    dtype: torch.dtype,
    device: torch.device | str,
) -> Batches:
    """Recordings in padded batches, every frame once; ``include_bos`` is there for one signature.

    Accepted: what `satlens.models.read_audio` takes, prepared by the processor on the model
    (``model.processor``), or a mapping with ``input_values`` and ``attention_mask`` prepared before.

    Raises:
        InputError: as `read_audio`; also a recording too short for one frame.
    """
    if isinstance(inputs, Mapping) and "input_values" in inputs:
        waves = prepared(inputs)
        docs, note = range(len(waves)), None
        names = tuple(f"recording {i}" for i in docs)
    else:
        found = read_audio(inputs, rate=rate_of(extractor))
        names, docs, note = found.names, found.item, found.note
        waves = [
            extractor(wave.numpy(), sampling_rate=found.rate, return_tensors="pt")["input_values"][
                0
            ]
            for wave in found.waves
        ]
    rows = []
    for doc, name, wave in zip(docs, names, waves, strict=True):
        n = n_frames(len(wave), convolutions)
        if n < 1:
            raise InputError(f"{name}: {len(wave)} samples are too few for one frame.")
        rows.append(HeardRow(doc, name, wave, torch.ones(n, dtype=torch.bool)))
    collate = partial(collate_heard, dtype=dtype, device=device)
    return Batches(tuple(rows), batch_size, collate, len(rows), note)


def prepared(fields: Mapping[str, Any]) -> list[Float[Tensor, " sample"]]:
    """Waveforms as a processor gives them, without what its mask leaves out."""
    values = torch.as_tensor(fields["input_values"])
    if values.ndim != 2 or not values.is_floating_point() or not values.numel():
        raise InputError(
            f"input_values are floats [recording, sample]; got {values.dtype} of shape "
            f"{tuple(values.shape)}."
        )
    if not bool(torch.isfinite(values).all()):
        raise InputError("input_values hold NaN or infinite values.")
    values = values.detach().cpu().clone()
    mask = fields.get("attention_mask")
    if mask is None:
        return list(values)
    mask = torch.as_tensor(mask)
    if mask.shape != values.shape:
        raise InputError(
            f"input_values have shape {tuple(values.shape)}, attention_mask {tuple(mask.shape)}."
        )
    return [strip_row(row, keep, i) for i, (row, keep) in enumerate(zip(values, mask, strict=True))]


def n_frames(samples: int, convolutions: Sequence[tuple[int, int]]) -> int:
    """Positions that the convolutions leave of this many samples.

    >>> n_frames(16_000, [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)])
    49
    """
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples


def collate_heard(
    rows: Sequence[HeardRow], dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """One batch; positions are frames."""
    waves = [row.wave for row in rows]
    mask = pad_sequence([torch.ones(len(wave), dtype=torch.int64) for wave in waves], True)
    real = pad_sequence([row.real for row in rows], batch_first=True).to(device)
    return Batch(
        args={
            "input_values": pad_sequence(waves, batch_first=True).to(device, dtype),
            # Not "attention_mask": that is a mask of positions, and a position is a frame.
            "sample_mask": mask.to(device),
        },
        real=real,
        doc=torch.tensor([row.doc for row in rows], device=device),
        start=torch.zeros(len(rows), dtype=torch.int64, device=device),
        tokens=torch.full(real.shape, -1, device=device),
    )
