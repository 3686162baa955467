"""`untrained`: the same host with the weights its architecture starts from.

    Hugging Face module     its class built anew from its configuration (``_init_weights``)
    TransformerBridge       the same, and a new bridge around it; native bridges by their own rule
    HookedTransformer       its own rule (N(0, cfg.initializer_range)); if it was converted from Hugging Face
                            weights, what that family starts from: N(0, initializer_range), usually
                            0.02, in GPT-2 with the matrices that write to the stream divided by
                            sqrt(2 L); the head is tied if it was
    HookedEncoder           BERT's rule: N(0, 0.02), biases 0, norms 1
    HookedEncoderDecoder    T5's rule: N(0, 1/fan-in) by matrix, embeddings N(0, 1)
    ResidualLSTM            torch's rule for LSTMs, U(-d^-1/2, d^-1/2), forget biases 1; embedding N(0, 0.02)
    a module of your own    what its `ResidualModel` says under ``untrained``

The global random state is left as it was, and no tensor is shared with the trained model.
"""

import copy
import math
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from satlens.conventions import DEFAULT_SEED
from satlens.errors import ModelError
from satlens.models.identity import weights_sha256
from satlens.models.protocol import Host, ResidualModel

HF_STD = 0.02
"""``initializer_range`` of BERT, GPT-2, GPT-NeoX and Llama configurations."""


def untrained(
    model: nn.Module | ResidualModel, seed: int = DEFAULT_SEED
) -> nn.Module | ResidualModel:
    """A host of the same kind and shape with fresh weights, in evaluation mode.

    What a trained model's numbers must be held against: everything that comes from the architecture
    alone is still there.

    Args:
        model: a host, or a `ResidualModel` (its host is taken).
        seed: of the weights; the same seed gives the same weights.

    Returns:
        A host on the same device, in the same dtype, with the same tokenizer; of a `ResidualModel` that
        says itself how it starts, such a `ResidualModel`.

    Raises:
        ModelError: a kind of host that cannot be built anew, or an ``untrained`` of the model's own that
            gives something else.
    """
    if isinstance(model, ResidualModel) and model.untrained is not None:
        return fresh_own(model, model.untrained, seed)
    host = model.host if isinstance(model, ResidualModel) else model
    names = [base.__name__ for base in type(host).__mro__]
    with seeded(seed):
        if "TransformerBridge" in names:
            fresh = fresh_bridge(host)
        elif any(
            name in names for name in ("HookedTransformer", "HookedEncoder", "HookedEncoderDecoder")
        ):
            fresh = fresh_hooked(host)
        elif hasattr(host, "config") and hasattr(host.config, "get_text_config"):
            fresh = fresh_hf(host)
        elif "ResidualLSTM" in names:
            fresh = fresh_lstm(host)
        else:
            raise ModelError(
                f"satlens.untrained cannot build a {type(host).__name__} anew; pass a TransformerLens "
                "or Hugging Face model, or a ResidualModel(..., untrained=function of the seed)."
            )
    return fresh.eval()


@contextmanager
def seeded(seed: int) -> Generator[None, None, None]:
    """A seeded CPU generator inside; the caller's random state comes back afterwards."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Hooked.* is deprecated", DeprecationWarning)
        torch.manual_seed(seed)
        yield


def fresh_own(
    model: ResidualModel, make: Callable[[int], ResidualModel], seed: int
) -> ResidualModel:
    """The twin that a module of one's own makes, held to what a twin is."""
    before = weights_sha256(model)
    with seeded(seed):
        fresh = make(seed)
    said = f"The untrained twin of {model.name}"
    if not isinstance(fresh, ResidualModel):
        raise ModelError(f"{said} is a {type(fresh).__name__}; return a ResidualModel.")
    if weights_sha256(model) != before:
        raise ModelError(
            f"{said} was made in the place of the trained weights, which are lost: load the model again, "
            "and let untrained=... work on a copy (copy.deepcopy)."
        )
    if weights_sha256(fresh) == before:
        raise ModelError(f"{said} has the trained weights: draw every one of them anew.")
    shapes = [(one.n_layers, one.d_model, one.n_outputs) for one in (model, fresh)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{said} has (layers, width, outputs) = {shapes[1]}, the trained model {shapes[0]}."
        )
    fresh.host.eval()
    return fresh


def fresh_hf(host: nn.Module) -> nn.Module:
    """The same Hugging Face class from the same configuration."""
    fresh = like(type(host)(copy.deepcopy(host.config)), host)
    keep_readers(host, fresh)
    if hasattr(host, "generation_config"):  # what it forces and suppresses when it writes
        fresh.generation_config = copy.deepcopy(host.generation_config)
    return fresh


def keep_readers(host: nn.Module, fresh: nn.Module) -> None:
    """What turns text or images into the model's inputs, where the host was given it."""
    for name in ("tokenizer", "processor", "image_processor"):
        if hasattr(host, name):
            setattr(fresh, name, getattr(host, name))


def fresh_lstm(host: Host) -> nn.Module:
    """The stacked LSTM of the same shape."""
    fresh = like(host.untrained(), host)
    for name in ("name_or_path", "tokenizer"):
        if hasattr(host, name):
            setattr(fresh, name, getattr(host, name))
    return fresh


def like(fresh: nn.Module, host: nn.Module) -> nn.Module:
    """``fresh`` on the device and in the dtype of ``host``; buffers (rotary tables) keep theirs."""
    parameter = next(host.parameters())
    for own in fresh.parameters():
        own.data = own.data.to(parameter.dtype)
    return fresh.to(parameter.device)


def fresh_bridge(host: Host) -> nn.Module:
    """A new bridge; of a bridge in compatibility mode the raw one (same logits up to a constant)."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    old = host.original_model
    if not hasattr(old, "config") or not hasattr(old.config, "get_text_config"):
        fresh = fresh_native(host)
    else:
        config = copy.deepcopy(old.config)
        model = like(type(old)(config), host).eval()
        fresh = build_bridge_from_module(
            model, host.cfg.architecture, hf_config=config, model_name=host.cfg.model_name
        )
    keep_readers(host, fresh)
    for name in ("default_prepend_bos", "tokenizer_prepends_bos", "tokenizer_appends_eos"):
        if hasattr(host.cfg, name):
            setattr(fresh.cfg, name, getattr(host.cfg, name))
    return fresh


def fresh_native(host: Host) -> nn.Module:
    """A new TransformerLens-native bridge; its settings' own seed would override ours."""
    if host.cfg.architecture != "TransformerLensNative":
        raise ModelError(
            f"satlens.untrained cannot build {type(host.original_model).__name__} anew: it has no "
            "Hugging Face configuration. Build the untrained bridge yourself."
        )
    cfg = copy.deepcopy(host.cfg)
    cfg.seed, cfg.init_weights = None, True
    where = next(host.parameters())
    fresh = type(host).boot_native(
        cfg, model_name=cfg.model_name, device=where.device, dtype=where.dtype
    )
    fresh.cfg.seed = host.cfg.seed
    return fresh


def fresh_hooked(host: Host) -> nn.Module:
    """The same TransformerLens 3 class from the same settings, initialised."""
    cfg = copy.deepcopy(host.cfg)
    # The constructor would load the tokenizer by name (from the network), and seed by itself.
    cfg.tokenizer_name, cfg.seed, cfg.init_weights = None, None, True
    where = next(host.parameters())
    cfg.device, cfg.dtype = str(where.device), where.dtype
    kind = type(host).__name__
    unset = math.isclose(cfg.initializer_range, 0.8 * cfg.d_model**-0.5)
    if cfg.original_architecture and cfg.init_mode == "gpt2" and unset:
        cfg.initializer_range = HF_STD
    # Moved here, and not by the constructor, which would print the device.
    fresh = type(host)(cfg, move_to_device=False)
    nn.Module.to(fresh, where.device)
    if kind == "HookedEncoder":
        init_hooked(fresh, {})
    elif kind == "HookedEncoderDecoder":
        init_hooked(fresh, t5_stds(cfg))
    elif cfg.original_architecture == "GPT2LMHeadModel":
        scale_writers(fresh)
    tie_head(host, fresh)
    fresh.tokenizer = host.tokenizer
    for name in ("tokenizer_name", "seed", "init_weights"):
        setattr(cfg, name, getattr(host.cfg, name))
    return fresh


def t5_stds(cfg: Any) -> dict[str, float]:
    """Standard deviation by the last part of a parameter's name, as T5 is initialised."""
    into = cfg.d_model**-0.5
    return {
        "W_E": 1.0,
        "W_U": 1.0,
        "W_Q": (cfg.d_model * cfg.d_head) ** -0.5,
        "W_K": into,
        "W_V": into,
        "W_O": (cfg.n_heads * cfg.d_head) ** -0.5,
        "W_in": into,
        "W_gate": into,
        "W_out": cfg.d_mlp**-0.5,
        "weight": into,  # the table of relative positions
    }


@torch.no_grad()
def init_hooked(model: nn.Module, stds: dict[str, float]) -> None:
    """Matrices N(0, std), biases 0, norms 1: HookedEncoder and -Decoder come uninitialised."""
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1].removeprefix("_")
        if last == "w":
            parameter.fill_(1)
        elif last.startswith("b"):
            parameter.zero_()
        else:
            parameter.normal_(0, stds.get(last, HF_STD))


@torch.no_grad()
def scale_writers(model: Any) -> None:
    """GPT-2 divides what writes to the residual stream by the root of the number of writers."""
    for block in model.blocks:
        block.attn.W_O /= math.sqrt(2 * len(model.blocks))
        block.mlp.W_out /= math.sqrt(2 * len(model.blocks))


@torch.no_grad()
def tie_head(host: Host, fresh: Any) -> None:
    """Give the fresh model a tied head if the trained one's head holds its embeddings."""
    if not same_head(host):
        return
    fresh.unembed.W_U.copy_(embedding(fresh).T)


def embedding(host: Host) -> torch.Tensor:
    """The token embedding of a HookedTransformer, HookedEncoder or HookedEncoderDecoder."""
    return host.embed.W_E if hasattr(host.embed, "W_E") else host.embed.embed.W_E


def same_head(host: Host) -> bool:
    """Whether the unembedding is the embedding, transposed (the host keeps two copies)."""
    head, table = host.unembed.W_U, embedding(host)
    return head.shape == table.T.shape and bool(torch.equal(head, table.T))
