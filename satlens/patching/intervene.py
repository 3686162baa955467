"""Interventions on the residual stream: states put in place of, or added to, a model's own.

For an edit (l, b, p, v) at layer l, row b and column p of a batch, behind block l

    replace     h_l[b, p] = v
    add         h_l[b, p] = h_l[b, p] + v

Everything else of h_l, and every layer before l, stays as it is, bit for bit. Layer l is the state AFTER
block l: the OUTPUT of the block is edited, so the block itself runs for every position.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from satlens.errors import InputError, NumericsError
from satlens.models import wrap
from satlens.models.protocol import HookFn

MODES = ("replace", "add")


@dataclass(frozen=True, eq=False)
class Edit:
    """One or many edits of one kind. Numbers and single states are taken as one edit.

    Attributes:
        layer, row, column: ``[n]`` where: block, row of the batch, column of the row.
        state: ``[n, d]`` what is put in, or added. Copied: the edit shares no memory.
        mode: "replace" or "add".

    Raises:
        InputError: shapes that do not fit, places below 0, an unknown mode, or two replacements of
            one state. NumericsError: NaN or infinite states.

    Example:
        >>> Edit(layer=3, row=0, column=5, state=torch.zeros(8))
        Edit(1 state, layers 3..3, replace)
    """

    layer: Int[Tensor, " n"]
    row: Int[Tensor, " n"]
    column: Int[Tensor, " n"]
    state: Float[Tensor, "n d"]
    mode: str = "replace"

    def __post_init__(self) -> None:
        own = object.__setattr__
        if self.mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}; got {self.mode!r}.")
        state = torch.as_tensor(self.state).detach().clone()
        own(self, "state", state[None] if state.ndim == 1 else state)
        for name in ("layer", "row", "column"):
            own(self, name, _places(name, getattr(self, name)))
        found = {name: tuple(getattr(self, name).shape) for name in ("layer", "row", "column")}
        if self.state.ndim != 2 or set(found.values()) != {(len(self.state),)}:
            raise InputError(
                "An Edit wants state [n, d] and layer, row and column [n]; got state of shape "
                f"{tuple(self.state.shape)} and {', '.join(f'{k} {v}' for k, v in found.items())}."
            )
        if not bool(torch.isfinite(self.state).all()):
            bad = int((~torch.isfinite(self.state)).any(1).sum())
            raise NumericsError(f"{bad} of {len(self.state)} states to put in are NaN or infinite.")
        where = torch.stack([self.layer, self.row, self.column], 1)
        twice = len(where) - len(where.unique(dim=0))
        if self.mode == "replace" and twice:
            raise InputError(
                f"{twice} of {len(where)} edits replace a state that another one replaces as well; "
                "one place can hold one state."
            )

    def __len__(self) -> int:
        return len(self.state)

    def __repr__(self) -> str:
        many = f"{len(self)} state{'' if len(self) == 1 else 's'}"
        span = f"layers {int(self.layer.min())}..{int(self.layer.max())}, " if len(self) else ""
        return f"Edit({many}, {span}{self.mode})"


def _places(name: str, values: Any) -> Int[Tensor, " n"]:
    """Whole numbers of at least 0, as a tensor of one dimension."""
    places = torch.as_tensor(values).detach().clone()
    if places.is_floating_point() or places.dtype == torch.bool:
        raise InputError(f"Edit.{name} wants whole numbers; got {places.dtype}.")
    if places.numel() and int(places.min()) < 0:
        raise InputError(f"Edit.{name} counts from 0; got {int(places.min())}.")
    return places.long().reshape(-1) if places.ndim == 0 else places.long()


class Handle:
    """Takes an intervention off a model again."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def remove(self) -> None:
        """Remove exactly the hooks of this intervention; a second call does nothing."""
        self._stack.close()


class Intervention:
    """Edits that are on a model inside ``with``, or between ``attach()`` and ``handle.remove()``."""

    def __init__(self, model: Any, edits: Edit | Sequence[Edit]) -> None:
        self.model = wrap(model)
        self.edits = (edits,) if isinstance(edits, Edit) else tuple(edits)
        self._entered: list[Handle] = []
        for edit in self.edits:
            self._check(edit)

    def _check(self, edit: Edit) -> None:
        model = self.model
        if len(edit) and int(edit.layer.max()) >= model.n_layers:
            raise InputError(
                f"Asked for an edit after block {int(edit.layer.max())}; {model.name} has blocks 0 to "
                f"{model.n_layers - 1}."
            )
        if edit.state.shape[1] != model.d_model:
            raise InputError(
                f"The states to put in have width {edit.state.shape[1]}; the residual stream of "
                f"{model.name} has {model.d_model}."
            )

    def attach(self) -> Handle:
        """Put the edits on the model, behind the hooks that it already has, until the handle is used."""
        stack, hooks = ExitStack(), self._hooks()
        for _, fn in hooks:
            # A context that nobody holds is closed by the garbage collector, which would take the edits
            # off behind the caller's back: so the hooks on the model hold it.
            fn.held = stack  # type: ignore[attr-defined]
        # ResidualModel.hooks leaves nothing behind if it raises, so there is nothing to undo here.
        stack.enter_context(self.model.hooks(hooks))
        return Handle(stack)

    def __enter__(self) -> Handle:
        self._entered.append(self.attach())
        return self._entered[-1]

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().remove()

    def _hooks(self) -> list[tuple[int, HookFn]]:
        layers = sorted({layer for edit in self.edits for layer in edit.layer.tolist()})
        return [(layer, _hook(layer, self.edits)) for layer in layers]


def intervene(model: Any, edits: Edit | Sequence[Edit]) -> Intervention:
    """Edit the residual stream of a model, for as long as you say.

    Args:
        model: anything that `satlens.wrap` takes. Hooks that are already on it run first and stay.
        edits: one `Edit` or several; they act one after the other, in the order given.

    Returns:
        A context manager that is also an object with ``.attach()``, which gives a handle with
        ``.remove()``. On any error inside, the model is left as it was.

    Raises:
        InputError: a layer that the model does not have, states of another width; and, from the
            forward pass, a row or column that the batch does not have.

    Example:
        >>> import satlens
        >>> model = satlens.load_model("tiny")
        >>> tokens = torch.tensor([[1, 40, 50, 60]])
        >>> with torch.no_grad(), intervene(model, Edit(2, row=0, column=3, state=torch.ones(128))):
        ...     changed = model(tokens)
        >>> with torch.no_grad():
        ...     same = (model(tokens) == changed).all(-1)
        >>> same.tolist()
        [[True, True, True, False]]
    """
    return Intervention(model, edits)


def _hook(layer: int, edits: Sequence[Edit]) -> HookFn:
    """All edits of one layer, in order, on a copy of the state."""
    parts = [(edit, (edit.layer == layer).nonzero().flatten()) for edit in edits]

    def fn(resid: Tensor, hook: Any = None) -> Tensor:
        edited = resid.clone()
        for edit, chosen in parts:
            row, column = (x[chosen].to(resid.device) for x in (edit.row, edit.column))
            _check_places(resid, row, column, layer)
            state = edit.state[chosen].to(resid)
            edited.index_put_((row, column), state, accumulate=edit.mode == "add")
        return edited

    return fn


def _check_places(resid: Tensor, row: Tensor, column: Tensor, layer: int) -> None:
    outside = (row >= resid.shape[0]) | (column >= resid.shape[1])
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        raise InputError(
            f"Asked for an edit at row {int(row[first])}, column {int(column[first])} after block "
            f"{layer}; this batch has {resid.shape[0]} rows of {resid.shape[1]} columns."
        )
