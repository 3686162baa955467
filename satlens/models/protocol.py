"""Any model, seen as a stack of residual states with one readout: `ResidualModel`.

The state after block ``l`` is ``h_l``; the readout ``r`` is whatever the model itself does between
its last state and its logits (final norm, unembedding, soft cap), so that

    r(h_{L-1}) == the model's own logits,

which `satlens.wrap` verifies once. Everything else in satlens talks to this class alone and never
imports a host class, so one code base serves TransformerLens 3 and 4 and bare Hugging Face modules.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from satlens.errors import ModelError

if TYPE_CHECKING:
    from satlens.models.inputs.batches import Batches

Host = Any
"""A model of TransformerLens or of Hugging Face, as the code that reads it inside has it: which parts it has
differs between kinds and versions, and torch types every one of them as a tensor or a module."""

HookFn = Callable[..., Tensor | None]
"""A TransformerLens hook: ``fn(resid, hook=hook_point)`` returns a new state, or None."""

READS = {
    "text": "text",
    "masked text": "text in which some tokens are masked",
    "pairs": "pairs of a source and a target text",
    "images": "images",
    "recordings": "recordings of sound",
    "speech": "recordings of speech, each with a transcript or without",
}
"""What a model may read (`ResidualModel.reads`), in words."""


@dataclass(frozen=True)
class Batch:
    """What one forward pass is called with, and which of its residual positions count.

    A row is one window of one document; ``pos = start[row] + column`` is the position of a state
    inside its document.
    """

    args: dict[str, Tensor]
    """Keyword arguments of the model's forward, each with a leading batch axis."""
    real: Bool[Tensor, "batch pos"]
    """True where a residual position counts (not padding, not a BOS)."""
    doc: Int[Tensor, " batch"]
    """The document each row belongs to."""
    start: Int[Tensor, " batch"]
    """The document position of column 0 of each row."""
    tokens: Int[Tensor, "batch pos"]
    """Input token ids (pad positions hold any id; models without tokens hold -1)."""


@dataclass(frozen=True)
class States:
    """The real positions of one batch: residual states of every layer, and the model's own logits."""

    resid: Float[Tensor, "layer token d"]
    logits: Float[Tensor, "token output"] | Float[Tensor, "0 output"]
    """Without rows where they were not asked for: ``[0, output]``."""
    doc: Int[Tensor, " token"]
    pos: Int[Tensor, " token"]
    input: Int[Tensor, " token"]
    """The id the model read at this position (-1 where a model reads no tokens)."""


@dataclass(frozen=True)
class _Real:
    """The real positions of a batch, as places in its rows laid end to end."""

    index: Int[Tensor, " token"]
    every: bool

    @staticmethod
    def of(real: Bool[Tensor, "batch pos"]) -> "_Real":
        index = real.flatten().nonzero().flatten()
        return _Real(index, len(index) == real.numel())

    def of_all(self, values: Float[Tensor, "batch pos n"]) -> Float[Tensor, "token n"]:
        """Without a copy where every position is real."""
        flat = values.flatten(0, 1)
        return flat if self.every else flat.index_select(0, self.index)


class _AllSeen(Exception):
    """Ends a forward pass from inside the last block's hook."""


@dataclass(frozen=True)
class ResidualModel:
    """A host model with its hook points, its readout and its forward, ready for satlens.

    Built by `satlens.wrap`; construct it by hand to bring a module of your own.

    Attributes:
        host: the model itself; satlens never changes it and leaves no hook on it.
        name: for tables and titles.
        hook_points: one `HookPoint` (any module whose output is the state) per layer.
        readout: state ``[..., d]`` -> scores ``[..., n_outputs]``, the model's own.
        forward: `Batch` -> logits ``[batch, pos, n_outputs]`` in the positions of ``batch.real``.
        batches: ``(inputs, batch_size, include_bos=False) -> Batches``: what this kind of model reads,
            checked at once and cut into `Batch`es (see `satlens.models.inputs.batches.Batches`).
        context: the most tokens one row can hold, or None.
        tokenizer: a Hugging Face tokenizer, or None.
        attached: a context inside which the host's states pass through ``hook_points``; needed only
            where the hook points are not the host's own (bare Hugging Face modules).
        example: a short input that ``batches`` reads, for checks; None if there is none.
        causal: no position is read by an earlier one, so a row may be cut behind the position in question.
        reads: what a document is, a key of `READS`; `satlens.runs` chooses by it how a corpus is read.
        untrained: for a module of your own: seed -> the same model with the weights it starts from, as a
            `ResidualModel`; what `satlens.untrained` then gives. Torch's random state is seeded meanwhile.
    """

    host: nn.Module
    name: str
    hook_points: tuple[nn.Module, ...]
    readout: Callable[[Tensor], Tensor]
    forward: Callable[[Batch], Tensor]
    batches: "Callable[..., Batches]"
    d_model: int
    n_outputs: int
    context: int | None = None
    tokenizer: Any = None
    attached: Callable[[], AbstractContextManager[Any]] = nullcontext
    example: Any = None
    causal: bool = False
    untrained: "Callable[[int], ResidualModel] | None" = None
    reads: str = "text"

    def __post_init__(self) -> None:
        if self.reads not in READS:
            raise ModelError(
                f"{self.name} reads {self.reads!r}, which is not known. Choices of "
                f"ResidualModel(reads=...): {', '.join(map(repr, READS))}."
            )

    @property
    def n_layers(self) -> int:
        """Number of blocks: the length of the stack that is hooked."""
        return len(self.hook_points)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.host.parameters()).device

    @contextmanager
    def hooks(self, fwd_hooks: Sequence[tuple[int, HookFn]]) -> Generator[None, None, None]:
        """Run ``fn(resid, hook=point)`` on the state after block ``layer`` inside the context.

        Hooks that the caller has already put on the host run first and are kept. On leaving, and
        on any error, exactly the hooks added here are removed.
        """
        for layer, _ in fwd_hooks:
            if not 0 <= layer < self.n_layers:
                raise ModelError(
                    f"Asked for a hook after block {layer}; {self.name} has blocks 0 to "
                    f"{self.n_layers - 1}."
                )
        with ExitStack() as stack:
            stack.enter_context(self.attached())
            for layer, fn in fwd_hooks:
                point = self.hook_points[layer]
                handle = point.register_forward_hook(
                    lambda module, _inputs, output, fn=fn: fn(output, hook=module)
                )
                stack.callback(handle.remove)
            yield

    @torch.no_grad()
    def states(self, batch: Batch, logits: bool = True) -> States:
        """One forward pass: the state after every block and the logits, at the real positions.

        Memory: ``L * tokens * d`` numbers and one layer of logits; never logits of every layer. Without
        ``logits`` the pass ends behind the last block: no final norm, no unembedding, no rows of logits.
        """
        real = _Real.of(batch.real)
        seen: set[int] = set()
        # One tensor of all layers, made when the first state shows its size.
        kept: list[Tensor] = []

        def keep(layer: int) -> HookFn:
            def record(resid: Tensor, hook: Any = None) -> None:
                if resid.shape[:2] != batch.real.shape:
                    raise ModelError(
                        f"The state after block {layer} of {self.name} has shape {tuple(resid.shape)}; the "
                        f"batch has {tuple(batch.real.shape)} positions."
                    )
                if not kept:
                    kept.append(resid.new_empty(self.n_layers, len(real.index), resid.shape[-1]))
                if resid.dtype != kept[0].dtype:
                    kept[0] = kept[0].to(torch.promote_types(resid.dtype, kept[0].dtype))
                kept[0][layer] = resid.detach().flatten(0, 1).index_select(0, real.index)
                seen.add(layer)
                if not logits and len(seen) == self.n_layers:
                    raise _AllSeen

            return record

        with self.hooks([(layer, keep(layer)) for layer in range(self.n_layers)]):
            try:
                scores = real.of_all(self.forward(batch).detach())
            except _AllSeen:
                scores = kept[0].new_empty(0, self.n_outputs)
        missing = sorted(set(range(self.n_layers)) - seen)
        if missing:
            raise ModelError(
                f"The hooks after blocks {missing} of {self.name} did not run: the forward pass "
                "does not go through them (compiled model, or early stop?)."
            )
        row, column = batch.real.nonzero(as_tuple=True)
        return States(
            resid=kept[0],
            logits=scores if logits else scores[:0],
            doc=batch.doc[row],
            pos=batch.start[row] + column,
            input=batch.tokens[row, column],
        )
