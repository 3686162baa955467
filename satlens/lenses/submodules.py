"""Where a block keeps its attention, its MLP and its norms, by host.

    host                                norm1             attention    norm2                       mlp
    HookedTransformer, bridges          ln1               attn         ln2                         mlp
    Hugging Face, GPT-2 family          ln_1              attn         ln_2                        mlp
    Hugging Face, Llama family          input_layernorm   self_attn    post_attention_layernorm    mlp
    Hugging Face, GPT-NeoX (Pythia)     input_layernorm   attention    post_attention_layernorm    mlp

Each reads and writes vectors of the width of the stream, one a position; norm1 is what attention reads, norm2
what the MLP reads. They are found by these names, host classes are never imported.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from satlens.errors import ModelError
from satlens.models.hosts.hugging_face import LAYOUTS, has_submodule
from satlens.models.protocol import ResidualModel

KINDS = ("norm1", "attention", "norm2", "mlp")
"""In the order in which a block runs them."""
WORDS = {
    "norm1": "norm before attention", "attention": "attention", "norm2": "norm before the MLP",
    "mlp": "MLP",
}  # fmt: skip

NAMES = (
    ("ln1", "attn", "ln2", "mlp"),
    ("ln_1", "attn", "ln_2", "mlp"),
    ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp"),
    ("input_layernorm", "attention", "post_attention_layernorm", "mlp"),
)
"""What they are called in a block, kinds in the same order."""

Watcher = Callable[[Tensor, Tensor], Tensor | None]
"""``fn(input, output)``, both ``[batch, pos, d]``: gives another output, or None to leave it."""


def find_submodules(model: ResidualModel) -> list[Mapping[str, nn.Module]]:
    """The sub-modules of every block, by kind.

    Raises:
        ModelError: a host whose blocks have other parts; the message says what was looked for.
    """
    blocks = _blocks(model)
    for names in NAMES:
        if blocks and all(
            isinstance(getattr(block, one, None), nn.Module) for block in blocks for one in names
        ):
            return [
                {kind: getattr(block, one) for kind, one in zip(KINDS, names, strict=True)}
                for block in blocks
            ]
    looked = "; ".join(", ".join(names) for names in NAMES)
    if not blocks:
        stacks = ", ".join(dict.fromkeys(["blocks", *(layout.layers for layout in LAYOUTS)]))
        found = f"no stack of {model.n_layers} blocks (looked for {stacks})"
    else:
        found = f"blocks with {', '.join(name for name, _ in blocks[0].named_children())}"
    raise ModelError(
        f"The sub-modules of {model.name} ({type(model.host).__name__}) are not where they are looked for: "
        f"found {found}. Each block must have {looked}: those of a HookedTransformer or a bridge, or of the "
        "GPT-2, Llama or GPT-NeoX family of Hugging Face."
    )


def _blocks(model: ResidualModel) -> Sequence[nn.Module]:
    """The stack of blocks whose states are hooked; empty if there is none of its length."""
    for path in ("blocks", *(layout.layers for layout in LAYOUTS)):
        if has_submodule(model.host, path):
            stack = model.host.get_submodule(path)
            if isinstance(stack, nn.ModuleList) and len(stack) == model.n_layers:
                return list(stack)
    return []


@contextmanager
def watched(parts: Sequence[tuple[nn.Module, str, Watcher]]) -> Generator[None, None, None]:
    """Call ``fn(input, output)`` behind each module inside the context; an output it gives is used.

    Args:
        parts: module, its name for messages, and what to call.

    Hooks that are already there run first and stay; those added here go on leaving, and on any error.
    """
    with ExitStack() as stack:
        for module, name, fn in parts:
            handle = module.register_forward_hook(_hook(name, fn), with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _hook(name: str, fn: Watcher) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        given = _input(args, kwargs)
        if given is None or not isinstance(first, Tensor) or given.shape != first.shape:
            shapes = [
                tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
                for one in (given, first)
            ]
            raise ModelError(
                f"{name} reads {shapes[0]} and writes {shapes[1]}; a linear map in its place needs one state "
                "in and one state out at each position."
            )
        new = fn(given, first)
        if new is None:
            return None
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook


def _input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Float[Tensor, "batch pos d"] | None:
    """What a sub-module reads: its first argument, by place or by name."""
    if args and isinstance(args[0], Tensor):
        return args[0]
    for name in ("hidden_states", "query_input", "x"):
        if isinstance(kwargs.get(name), Tensor):
            return kwargs[name]
    return None
