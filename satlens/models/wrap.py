"""`wrap`: any model as a `ResidualModel`, checked once before anything is computed with it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from satlens.errors import ModelError, NumericsError, ReadoutError
from satlens.models.hosts.bridge import bridge
from satlens.models.hosts.ctc import ctc
from satlens.models.hosts.encoder_decoders import PAIRS
from satlens.models.hosts.encoders import MASKED
from satlens.models.hosts.hooked import hooked_encoder, hooked_encoder_decoder, hooked_transformer
from satlens.models.hosts.hugging_face import hooked_hf
from satlens.models.hosts.recurrent import residual_lstm
from satlens.models.hosts.vision import hf_image_classifier
from satlens.models.hosts.whisper import whisper
from satlens.models.inputs.image_processor import reads_images
from satlens.models.protocol import Batch, ResidualModel, States
from satlens.models.readout import LinearReadout, Readout, is_linear

KINDS: dict[str, Callable[[nn.Module], ResidualModel]] = {
    "HookedTransformer": hooked_transformer,
    "HookedEncoder": hooked_encoder,
    "HookedEncoderDecoder": hooked_encoder_decoder,
    "TransformerBridge": bridge,
    "WhisperForConditionalGeneration": whisper,
    "HubertForCTC": ctc,
    "Wav2Vec2ForCTC": ctc,
    **MASKED,
    **PAIRS,
    "ResidualLSTM": residual_lstm,
}

# Measured on the CPU over every kind of host in tests/models, float32 to bfloat16: 0, since the readout
# runs the model's own modules on the same numbers. The room is for devices whose matrix products
# round by shape. A readout without its norm, cap or scale was off by 1.3 to 10 spreads.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest |readout(last state) - logits| allowed, in units of the logits' spread, by type."""

FAILURES = (
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    RuntimeError,  # torch's own: types or devices that do not go together
)

ADVICE = (
    "Pass readout=..., a function from states [..., d] to scores [..., n_outputs] that does what the "
    "model does between its last block and its logits."
)


def wrap(model: Any, *, readout: Readout | None = None) -> ResidualModel:
    """A model as satlens sees it: states by layer and one readout, verified on a short input.

    The host is not changed; your own hooks on it stay, and act in everything satlens records.

    Args:
        model: a TransformerBridge, a HookedTransformer, HookedEncoder or HookedEncoderDecoder, a
            Hugging Face causal language model, image classifier (ViT, DeiT) or speech model (Whisper; HuBERT
            and wav2vec2 with a CTC head), or a `ResidualModel` (returned as it is).
        readout: state ``[..., d]`` -> scores ``[..., n_outputs]``, if the model's own path from its
            last state to its logits is not the usual one.

    Raises:
        ModelError: a kind that is not known, or a model in training mode.
        NumericsError: NaN or infinite weights; the message names the parameter.
        ReadoutError: the readout does not give the model's own logits.
    """
    if isinstance(model, ResidualModel):
        if readout is None:
            return model
        wrapped = replace(model, readout=readout)
        return verify(wrapped)
    check_host(model)
    wrapped = adapt(model, readout)
    return verify(wrapped)


def adapt(model: nn.Module, readout: Readout | None) -> ResidualModel:
    """The adapter for the model's kind, chosen by the names of its classes."""
    for name in (base.__name__ for base in type(model).__mro__):
        if name in KINDS:
            wrapped = KINDS[name](model)
            return wrapped if readout is None else replace(wrapped, readout=readout)
    if hasattr(model, "config") and hasattr(model.config, "get_text_config"):
        return (hf_image_classifier if reads_images(model) else hooked_hf)(model, readout)
    raise ModelError(
        f"{type(model).__name__} is of no known kind. satlens.wrap takes {', '.join(KINDS)}, a Hugging "
        "Face causal language model or image classifier, or a satlens.models.ResidualModel that you build "
        "by hand."
    )


def check_host(model: Any) -> None:
    """Refuse what would give wrong numbers: no module, training mode, NaN weights."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"satlens.wrap takes a model; got {type(model).__name__}.")
    check_mode(model)
    check_weights(model)


def check_mode(model: nn.Module) -> None:
    """Refuse training mode."""
    if model.training:
        raise ModelError(
            f"The {type(model).__name__} is in training mode, so its dropout would be random. Call "
            "model.eval() first."
        )


def check_weights(model: nn.Module) -> None:
    """Refuse NaN and infinite weights, naming the first parameter that has them."""
    for name, parameter in model.named_parameters():
        if parameter.numel() and torch.stack(parameter.detach().aminmax()).isfinite().all():
            continue  # the smallest and the largest are NaN or infinite if any is
        bad = parameter.numel() - int(torch.isfinite(parameter).sum())
        if bad:
            raise NumericsError(
                f"{bad} of {parameter.numel()} values of {name} are NaN or infinite; the model's "
                "ranking would mean nothing. Load its weights again."
            )


def first_states(model: ResidualModel, batch: Batch) -> States:
    """The states of the first forward pass; a host that cannot run at all says so here."""
    try:
        return model.states(batch)
    except FAILURES as cause:
        raise ModelError(
            f"The forward pass of {model.name} fails on a short input ({type(cause).__name__}: {cause}). "
            "Either its host does not run with the installed versions of transformers and "
            "TransformerLens, or a hook on it raised."
        ) from cause


@torch.no_grad()
def verify(model: ResidualModel) -> ResidualModel:
    """Check readout(last state) == the model's own logits on the model's example input.

    `wrap` does this; call it on a `ResidualModel` that you built by hand.

    Returns:
        The model; its readout marked where its head is not the linear map that it says.

    Raises:
        ModelError: a host in training mode, or one whose forward pass fails or goes past the hook points.
        ReadoutError: other scores than the model's own.
    """
    check_mode(model.host)
    if model.example is None:
        return model
    (batch,) = model.batches(model.example, 1, include_bos=True)
    states = first_states(model, batch)
    try:
        got = model.readout(states.resid[-1])
    except (TypeError, ValueError, RuntimeError, AttributeError) as cause:
        raise ReadoutError(
            f"The readout of {model.name} fails on states of shape {tuple(states.resid[-1].shape)}: "
            f"{cause}. {ADVICE}"
        ) from cause
    if not isinstance(got, Tensor) or got.shape != states.logits.shape:
        found = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
        raise ReadoutError(
            f"The readout of {model.name} gives {found}; the model's logits are "
            f"{tuple(states.logits.shape)}. {ADVICE}"
        )
    want = states.logits.double()
    worst = float((got.double() - want).abs().max())
    spread = float(want.std()) if want.numel() > 1 else 0.0
    allowed = TOLERANCE.get(states.logits.dtype, TOLERANCE[torch.float32]) * max(spread, 1e-6)
    if not worst <= allowed:
        raise ReadoutError(
            f"The readout of {model.name} does not give the model's own logits: the largest "
            f"difference is {worst:.3g}, where {allowed:.3g} is allowed. {ADVICE}"
        )
    # In the head's own type: Mamba's logits are float32, its head may be bfloat16.
    rounding = TOLERANCE.get(got.dtype, TOLERANCE[torch.float32])
    if isinstance(model.readout, LinearReadout) and not is_linear(
        model.readout, states.resid[-1], rounding
    ):
        return replace(model, readout=replace(model.readout, linear=False))
    return model
