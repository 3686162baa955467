"""Any Hugging Face language model, with one `HookPoint` behind each of its decoder layers.

`HookedModule` is a HookedRootModule around the model: ``run_with_cache`` and ``run_with_hooks`` of
TransformerLens 3 and 4 work on it under the names ``blocks.l.hook_resid_post``. A hook point is the
identity until something is hooked to it, and is behind its layer only while the wrapper runs or
inside ``attached()``: the model's outputs are its own, and afterwards nothing is left on it.

Mamba has the same stream without attention: a block is ``h + mixer(norm(h))``, and its state is the sum.
With ``residual_in_fp32`` (its default) the sum is kept in float32 whatever the weights are, so states of a
bfloat16 Mamba are float32; what the head reads is ``norm_f(h)``, rounded to the type of its weights.
"""

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.HookedRootModule import HookedRootModule

from satlens.errors import ModelError
from satlens.models.hosts.hooked import device_of
from satlens.models.inputs.text import example_ids, token_batches
from satlens.models.protocol import Batch, Host, ResidualModel
from satlens.models.readout import LinearReadout, Readout, logits_of, scaled, soft_cap


@dataclass(frozen=True)
class Layout:
    """Where a family of models keeps its decoder layers, its final norm and its head."""

    layers: str
    norm: str
    heads: tuple[str, ...]


LAYOUTS = (
    Layout(
        "model.layers", "model.norm", ("lm_head",)
    ),  # Llama, Mistral, Qwen, Gemma, OLMo, Granite
    Layout("model.layers", "model.final_layernorm", ("lm_head",)),  # Phi
    Layout(
        "transformer.h", "transformer.ln_f", ("lm_head",)
    ),  # GPT-2, GPT-Neo, GPT-J, Falcon, Bloom
    Layout("gpt_neox.layers", "gpt_neox.final_layer_norm", ("lm_head", "embed_out")),  # Pythia
    Layout("model.decoder.layers", "model.decoder.final_layer_norm", ("lm_head",)),  # OPT
    Layout("backbone.layers", "backbone.norm_f", ("lm_head",)),  # Mamba
    Layout("transformer.blocks", "transformer.norm_f", ("lm_head",)),  # MPT
)


class _Block(nn.Module):
    """Holds one hook point under TransformerLens' name for it."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_resid_post = HookPoint()


class HookedModule(HookedRootModule):
    """A model and its layers; behind each layer a hook point, ``blocks.l.hook_resid_post``.

    Args:
        model: any module; calling the wrapper calls it with the same arguments.
        layers: its blocks, in order, each returning the state or a tuple that starts with it.

    Example:
        >>> import torch
        >>> layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> _, cache = HookedModule(layers, layers).run_with_cache(torch.ones(1, 3, 2))
        >>> sorted(cache)
        ['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post']
    """

    def __init__(self, model: nn.Module, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)  # a tuple: the layers are already registered inside the model
        self.blocks = nn.ModuleList(_Block() for _ in self.layers)
        self._attached = False
        self.setup()
        self.train(model.training)

    @property
    def points(self) -> tuple[HookPoint, ...]:
        """The hook points, in the order of the layers."""
        return tuple(cast(_Block, block).hook_resid_post for block in self.blocks)

    @contextmanager
    def attached(self) -> Generator[None, None, None]:
        """Route every layer's output through its hook point, also when ``model`` is called itself."""
        if self._attached:  # entered twice, a state would pass its hooks twice
            yield
            return
        with ExitStack() as stack:
            self._attached = True
            stack.callback(setattr, self, "_attached", False)
            for layer, point in zip(self.layers, self.points, strict=True):
                handle = layer.register_forward_hook(partial(_through, point))
                stack.callback(handle.remove)
            yield

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own output, its states having passed the hook points."""
        with self.attached():
            return self.model(*args, **kwargs)


def _through(point: HookPoint, _layer: nn.Module, _inputs: Any, output: Any) -> Any:
    """A layer's output with its state passed through the hook point."""
    if isinstance(output, tuple):
        return (point(output[0]), *output[1:])
    return point(output)


def hooked_hf(host: Host, readout: Readout | None = None) -> ResidualModel:
    """A Hugging Face causal language model as a `ResidualModel`.

    Args:
        host: the model, as ``AutoModelForCausalLM`` gives it.
        readout: state ``[..., d]`` -> logits, for a head that `LAYOUTS` does not describe.

    Raises:
        ModelError: no known layout, or no head and no ``readout``.
    """
    layout = find_layout(host, need_head=readout is None)
    hooked = HookedModule(host, blocks_at(host, layout.layers))
    config = host.config.get_text_config()

    def forward(batch: Batch) -> Tensor:
        return logits_of(hooked(**batch.args, use_cache=False))

    tokenizer = getattr(host, "tokenizer", None)
    context = getattr(config, "max_position_embeddings", None)
    return residual_model(
        hooked,
        readout=readout or head_readout(host, layout, config),
        forward=forward,
        batches=partial(
            token_batches,
            tokenizer=tokenizer,
            context=context,
            vocabulary=config.vocab_size,
            device=device_of(host),
        ),
        d_model=config.hidden_size,
        n_outputs=config.vocab_size,
        context=context,
        example=[example_ids(config.vocab_size, context)],
        causal=True,
    )


def residual_model(hooked: HookedModule, **parts: Any) -> ResidualModel:
    """The `ResidualModel` of a bare module behind its hook points; what the kinds differ in are ``parts``."""
    host = hooked.model
    named: dict[str, Any] = {"name": name_of(host), "tokenizer": getattr(host, "tokenizer", None)}
    return ResidualModel(
        host=host,
        hook_points=hooked.points,
        attached=hooked.attached,
        **named | parts,
    )


def name_of(host: Host) -> str:
    """What the model was loaded from (a local folder by its name alone, a hub name whole), or its class."""
    name = getattr(host.config, "_name_or_path", "")
    return (Path(name).resolve().name if name and Path(name).is_dir() else name) or type(
        host
    ).__name__


def blocks_at(host: nn.Module, path: str) -> nn.ModuleList:
    """The stack of blocks that the dotted path leads to."""
    return cast(nn.ModuleList, host.get_submodule(path))


def has_submodule(host: nn.Module, path: str) -> bool:
    """Whether the dotted path leads to a module."""
    try:
        host.get_submodule(path)
    except AttributeError:
        return False
    return True


def find_layout(host: nn.Module, need_head: bool = True) -> Layout:
    """The first layout whose layers (and, if needed, norm and head) the model has."""
    for layout in LAYOUTS:
        parts = [layout.layers, layout.norm] if need_head else [layout.layers]
        if all(has_submodule(host, path) for path in parts) and (
            not need_head or any(has_submodule(host, head) for head in layout.heads)
        ):
            return layout
    wanted = "; ".join(f"{x.layers} + {x.norm} + {' or '.join(x.heads)}" for x in LAYOUTS)
    raise ModelError(
        f"{type(host).__name__} has none of the known layouts. Looked for: {wanted}. Pass "
        "readout=... if only the norm or the head has another name, or build a "
        "satlens.models.ResidualModel by hand with your own hook points."
    )


def head_readout(host: nn.Module, layout: Layout, config: Any) -> Readout:
    """norm -> head -> the scale and the soft cap that the configuration names."""
    head = next(head for head in layout.heads if has_submodule(host, head))
    scale = getattr(config, "logit_scale", None) or 1 / (
        getattr(config, "logits_scaling", None) or 1
    )
    cap = getattr(config, "final_logit_softcapping", None)
    before: tuple[Readout, ...] = (host.get_submodule(layout.norm),)
    output: Host = host.get_submodule(head)
    if getattr(config, "residual_in_fp32", False):
        before = (*before, lambda x: x.to(output.weight.dtype))
    return LinearReadout(before, output, (scaled(scale), soft_cap(cap)))
