"""Token-Selective Attention: a small router behind every block says which tokens the next block skips.

    p_l = sigmoid(W2 relu(W1 h_l + b1) + b2)                 behind blocks l = 0 .. L-2, one number a token
    h'      = h_l + (1 - p_l) attention_{l+1}(...)
    h_{l+1} = h'  + (1 - p_l) mlp_{l+1}(...)
    hard:  a token skips block l+1 where p_l > 1/2, else it runs there as ever

h_l is the residual state as it is, without a norm; block 0 always runs. A skip is no exit: a token that skips
one block may run in the next, and the others still attend to its keys and values there. W1 is ``[hidden, d]``
with hidden = max(d / 4, 16), b2 starts at -1: d^2/4 + d/2 + 1 numbers a router from d = 64 on. What a token
costs is counted in layers:

    active = mean(1 - p)        TLOps saved = 1 - (1 + (L - 1) active) / L

A soft gate saves nothing by itself, since it computes all it scales: only the hard one can be made sparse
(`satlens.routing.SparseForward`). At the start p = sigmoid(-1) = 0.27 for every token, so soft gates that
have learned nothing already count as 22.4 % saved at L = 6, and hard ones as 0.

Source: Mohammed, Token-Selective Attention, arXiv 2605.05222.
"""

import math
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError, ModelError, NumericsError
from satlens.models import wrap
from satlens.models.protocol import HookFn, ResidualModel
from satlens.models.untrained import seeded
from satlens.routing.writers import find_writers, scaled
from satlens.storage import Stored, names
from satlens.version import __version__

MODES = ("soft", "hard")
BIAS = -1.0
STORED = Stored("satlens.TokenGates/1", "set of gates", "TokenGates.save")


Share = TypeVar("Share", float, np.ndarray)


def tlops_saved(active: Share, n_layers: int) -> Share:
    """Share of the layer operations that is saved: ``1 - (1 + (L-1) active) / L``.

    Args:
        active: mean share of tokens that run, over blocks 1 to L-1.

    Example:
        >>> round(tlops_saved(1 / (1 + math.exp(-1)), 6), 3)  # soft gates before any training
        0.224
    """
    return 1 - (1 + (n_layers - 1) * active) / n_layers


class Router(nn.Module):
    """``sigmoid(W2 relu(W1 h + b1) + b2)``: the probability that a token skips the next block."""

    def __init__(self, d_model: int, hidden: int, bias: float) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, hidden)
        self.down = nn.Linear(hidden, 1)
        nn.init.constant_(self.down.bias, bias)

    def forward(self, h: Float[Tensor, "*some d"]) -> Float[Tensor, "*some"]:
        """p of every state, in float32 at least."""
        x = self.down(torch.relu(self.up(h.to(self.up.weight.dtype))))[..., 0]
        return torch.sigmoid(x.to(torch.promote_types(x.dtype, torch.float32)))


class Decisions:
    """What the routers said in the last forward pass inside `TokenGates.attached`."""

    def __init__(self, mode: str, n_routers: int) -> None:
        self.mode = mode
        self.given: list[Tensor | None] = [None] * n_routers

    @property
    def skip(self) -> Float[Tensor, "router batch pos"]:
        """p; row i is that of router i, which says whether block i + 1 is skipped.

        Raises:
            ModelError: no forward pass yet.
        """
        given = [p for p in self.given if p is not None]
        if len(given) < len(self.given):
            raise ModelError(
                "There are no decisions yet: run the model inside the context, as in "
                "`with gates.attached('soft') as run: model(tokens)`."
            )
        return torch.stack(given)

    @property
    def active(self) -> Float[Tensor, "router batch pos"]:
        """The factor that was used: 1 - p, or 1 where p <= 1/2 and else 0."""
        return share_that_runs(self.skip, self.mode)


def share_that_runs(skip: Float[Tensor, "*some"], mode: str) -> Float[Tensor, "*some"]:
    """1 - p ("soft"); 1 where p <= 1/2, else 0 ("hard").

    >>> share_that_runs(torch.tensor([0.25, 0.5, 0.75]), "hard").tolist()
    [1.0, 1.0, 0.0]
    """
    return 1 - skip if mode == "soft" else (skip <= 0.5).to(skip.dtype)


class TokenGates(nn.Module):
    """Routers for a model, put on it by hooks inside a context; the model's own code is not changed.

    Args:
        model: anything that `satlens.wrap` takes and whose blocks add to a residual stream: a
            HookedTransformer, a bridge, a Hugging Face model. It is never copied.
        hidden: width of the routers; ``max(d // 4, 16)`` if not given.
        bias: what b2 starts from.
        seed: of the weights.

    Attributes:
        model: the `ResidualModel`; its parameters are not among those of the gates.
        routers: L - 1 of them.

    Raises:
        ModelError: one block, or a host that cannot be gated; the message says why.

    Example:
        >>> import satlens
        >>> host = satlens.load_model("tiny")
        >>> gates = TokenGates(host)
        >>> tokens = torch.arange(10, 20)[None]
        >>> with torch.no_grad(), gates.attached("soft") as run:
        ...     logits = host(tokens)
        >>> run.skip.shape, gates.n_parameters
        (torch.Size([15, 1, 10]), 62415)
    """

    def __init__(
        self, model: Any, hidden: int | None = None, bias: float = BIAS, seed: int = DEFAULT_SEED
    ) -> None:
        super().__init__()
        self.model: ResidualModel = wrap(model)
        d = self.model.d_model
        hidden = max(d // 4, 16) if hidden is None else hidden
        if not isinstance(hidden, int) or isinstance(hidden, bool) or hidden < 1:
            raise InputError(f"hidden is the width of a router, 1 or more; got {hidden!r}.")
        if not math.isfinite(bias):
            raise InputError(f"bias must be a finite number, got {bias}.")
        if self.model.n_layers < 2:
            raise ModelError(
                f"{self.model.name} has one block, which always runs: nothing to gate."
            )
        self._writers = find_writers(self.model)
        self._on = False
        self.settings = {"hidden": hidden, "bias": float(bias), "seed": seed}
        with seeded(seed):
            self.routers = nn.ModuleList(
                Router(d, hidden, bias) for _ in range(self.model.n_layers - 1)
            )
        kind = next(self.model.host.parameters()).dtype
        self.to(self.model.device, torch.promote_types(kind, torch.float32))

    @property
    def n_parameters(self) -> int:
        """Numbers added to the model: ``(L - 1)(d^2/4 + d/2 + 1)`` from d = 64 on."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, h: Float[Tensor, "*some d"], layer: int) -> Float[Tensor, "*some"]:
        """p of states after block ``layer``: whether they skip block ``layer + 1``.

        Raises:
            ModelError: a layer without a router. NumericsError: NaN.
        """
        if not 0 <= layer < len(self.routers):
            raise ModelError(
                f"Asked for the router after block {layer}; there is one after blocks 0 to "
                f"{len(self.routers) - 1}."
            )
        return self.routers[layer](h)

    @contextmanager
    def attached(
        self, mode: str = "soft", skip: Float[Tensor, "router batch pos"] | None = None
    ) -> Generator[Decisions, None, None]:
        """Gate the model inside the context, however it is called; gives what is decided.

        Hooks that are already there run first and stay. On leaving, and on any error, those added here go.

        Args:
            mode: "soft" scales by 1 - p; "hard" skips where p > 1/2.
            skip: p given, in place of what the routers say (which are then not asked).

        Raises:
            InputError: another mode, or ``skip`` of another shape or outside [0, 1].
            ModelError: gates that are on already, or a forward pass that does not go through every block.
            NumericsError: NaN from a router.
        """
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}; got {mode!r}.")
        if skip is not None:
            self._check_given(skip)
        if self._on:
            raise ModelError("These gates are on already; on twice, they would scale twice.")
        run = Decisions(mode, len(self.routers))
        with ExitStack() as stack:
            self._on = True
            stack.callback(setattr, self, "_on", False)
            hooks = [(i, self._ask(i, run, skip)) for i in range(len(self.routers))]
            stack.enter_context(self.model.hooks(hooks))
            for i in range(len(self.routers)):
                for module in self._writers[i + 1]:
                    stack.callback(scaled(module, _scale(i, run)).remove)
            yield run

    def _ask(self, i: int, run: Decisions, given: Tensor | None) -> HookFn:
        """A hook on the state after block i: the router reads it."""

        def hook(resid: Tensor, hook: Any) -> None:
            p = self(resid, i) if given is None else given[i].to(resid.device)
            if not bool(torch.isfinite(p.detach()).all()):
                raise NumericsError(
                    f"The router after block {i} gives NaN: its weights or the states hold NaN."
                )
            run.given[i] = p

        return hook

    def _check_given(self, skip: Tensor) -> None:
        """Refuse given probabilities that mean nothing."""
        fits = skip.ndim == 3 and len(skip) == len(self.routers) and skip.is_floating_point()
        if not fits or not bool(((skip >= 0) & (skip <= 1)).all()):
            raise InputError(
                f"skip is a float tensor [{len(self.routers)}, batch, pos] in [0, 1], got shape "
                f"{tuple(skip.shape)} of {skip.dtype}."
            )

    def save(self, path: str | Path) -> None:
        """Write ``path.safetensors`` and ``path.json``. The model is not in them.

        Raises:
            OutputError: the files cannot be written.
        """
        arrays = {
            name: np.array(value.detach().cpu().numpy(), order="C")
            for name, value in self.state_dict().items()
        }
        said = {
            "model": {
                "name": self.model.name, "n_layers": self.model.n_layers, "d": self.model.d_model,
            },
            "settings": self.settings,
            "versions": {"satlens": __version__, "torch": torch.__version__},
        }  # fmt: skip
        STORED.save(path, arrays, said)

    @staticmethod
    def load(path: str | Path, model: Any) -> "TokenGates":
        """Gates from `save`, for a model of the same shape.

        Gates that were trained together with their model belong to those weights: load these as well.

        Raises:
            InputError: no such files, changed ones, or gates for another shape.
        """
        said, raw = STORED.read(path)
        gates = TokenGates(model, **said["settings"])
        was, now = said["model"], gates.model
        if (was["n_layers"], was["d"]) != (now.n_layers, now.d_model):
            raise InputError(
                f"{names(path)[1]} holds gates for {was['n_layers']} blocks of width {was['d']} "
                f"({was['name']}); {now.name} has {now.n_layers} of width {now.d_model}."
            )
        own = gates.state_dict()
        wanted = {name: (v.detach().cpu().numpy().dtype, tuple(v.shape)) for name, v in own.items()}
        arrays = STORED.arrays(path, raw, wanted)
        gates.load_state_dict({name: torch.from_numpy(v) for name, v in arrays.items()})
        return gates


def _scale(i: int, run: Decisions) -> Callable[[Tensor], Tensor]:
    """What block i + 1 adds, scaled token by token."""

    def scale(output: Tensor) -> Tensor:
        p = run.given[i]
        if p is None or p.shape != output.shape[:-1]:
            found = "none" if p is None else f"one of shape {tuple(p.shape)}"
            raise ModelError(
                f"Block {i + 1} writes {tuple(output.shape)} and needs a decision for each position, found "
                f"{found}: the forward pass must go through block {i} with the same positions."
            )
        if run.mode == "hard":  # chosen, not multiplied: 0 times infinity is NaN
            return torch.where((p <= 0.5)[..., None], output, torch.zeros_like(output))
        return output * (1 - p).to(output.dtype)[..., None]

    return scale
