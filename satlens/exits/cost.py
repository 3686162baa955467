"""What a token costs that leaves after block e, in multiply-adds.

    body(e, n) = sum_{l <= e} (a_l + b_l n) + sum_{l > e} kv_l       n: positions it attends to, and its own
    looks(e)   = sum_{l <= min(e, L-2)} (s_l u_l + c)
    answer(e)  = (1 - s_e) u_e,      u_{L-1} where it never left
    saved      = 1 - sum over tokens (body + looks + answer) / sum over tokens (body(L-1, n) + u_{L-1})

    a_l    weights of block l that one position is multiplied with (GPT-2: 12 d^2)
    b_l    attention to one position: 2 heads d_head (once for its score, once for its value)
    kv_l   keys and values of a skipped block, made from the exited state as in CALM: 2 d kv_heads d_head
    u_l    one reading of the lens at layer l: d V, and the lens's own map (d^2 for a linear shortcut)
    s_l    1 where the policy reads scores at layer l (a share, if it reads some tokens' only)
    c      the policy's own ``cost(d)``: d stages for a probe, 3 d for a cosine

A policy that reads scores pays the whole unembedding at every look, but its last look is the answer and is
not counted twice. a, b and u are counted on the model itself by `torch.utils.flop_counter`, in passes of
three lengths, so they hold whatever the architecture (grouped heads, gated or sparse MLPs,
cross-attention). Reading, norms and elementwise steps are not counted, nor an encoder, which runs in every
case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from satlens.errors import InputError, ModelError
from satlens.lenses import Lens
from satlens.models.protocol import Batch, ResidualModel

_LENGTH = 8
ADVICE = "Pass cost=satlens.exits.Costs(...) with the numbers of your model."


@dataclass(frozen=True, eq=False)
class Costs:
    """Multiply-adds of a model and a lens, by layer.

    Attributes:
        per_token: ``a``. per_pair: ``b``. kv: ``kv``. look: ``u``, the readout itself at the last layer.
        note: what could not be counted, or empty.
    """

    per_token: Float[ndarray, " layer"]
    per_pair: Float[ndarray, " layer"]
    kv: Float[ndarray, " layer"]
    look: Float[ndarray, " layer"]
    note: str = ""

    def __post_init__(self) -> None:
        shapes = {np.shape(part) for part in (self.per_token, self.per_pair, self.kv, self.look)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(
                f"Costs need one number a layer in each array; got shapes {sorted(shapes)}."
            )
        for name in ("per_token", "per_pair", "kv", "look"):
            values = np.asarray(getattr(self, name), float)
            if not (np.isfinite(values) & (values >= 0)).all():
                raise InputError(f"Costs.{name} must be numbers of 0 or more; got {values}.")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.per_token)

    def body(self, attended: Int[ndarray, " token"]) -> Float[ndarray, "token layer"]:
        """``body(e, n)`` of every token for every exit e."""
        blocks = np.cumsum(self.per_token) + np.outer(attended, np.cumsum(self.per_pair))
        skipped = np.append(np.cumsum(self.kv[::-1])[::-1][1:], 0.0)
        return blocks + skipped

    def deciding(self, scored: Float[ndarray, " early"], own: float) -> Float[ndarray, " early+1"]:
        """Looks and answer of a token that leaves after e, for every e.

        Args:
            scored: ``s_l`` at the layers 0 .. L-2. own: ``c``.
        """
        looks = np.append(np.cumsum(scored * self.look[:-1] + own), 0.0)
        looks[-1] = looks[-2] if len(looks) > 1 else 0.0
        return looks + np.append(1.0 - scored, 1.0) * self.look


def measure(model: ResidualModel, lens: Lens) -> Costs:
    """Count what the blocks, the attention and the lens of a model multiply.

    Raises:
        ModelError: the model has no example to run, or nothing that could be counted.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> costs = measure(model, satlens.LogitLens(model))
        >>> int(costs.look[0]) == model.d_model * model.n_outputs
        True
    """
    batches = _examples(model)
    per_token, per_pair = _blocks(model, batches)
    kv, note = _keys_and_values(model, per_pair, fixed=len(batches) == 1)
    look = [_look(model, lens, layer) for layer in range(model.n_layers - 1)]
    look.append(_look(model, None, model.n_layers - 1))
    return Costs(per_token, per_pair, kv, np.array(look, float), note)


def _examples(model: ResidualModel) -> list[Batch]:
    """One row at three lengths; one batch alone for a model whose inputs all have one length."""
    example = model.example
    if example is None:
        raise ModelError(
            f"What {model.name} computes cannot be counted: it has no example input. {ADVICE}"
        )
    if isinstance(example, Tensor) or (
        isinstance(example, Mapping) and "decoder_input_ids" not in example
    ):
        return list(model.batches(example, 1, include_bos=True))[:1]
    longest = 3 * _LENGTH if model.context is None else min(3 * _LENGTH, model.context)
    step = longest // 3
    if step < 1:
        raise ModelError(
            f"What {model.name} computes cannot be counted: its context of {model.context} has no "
            f"three lengths. {ADVICE}"
        )
    made = [_of_length(example, step * times) for times in (1, 2, 3)]
    return [next(iter(model.batches(one, 1, include_bos=True))) for one in made]


def _of_length(example: Any, n: int) -> Any:
    """The example's ids over again until there are n; of a pair, or of speech, the target's."""
    if isinstance(example, Mapping):
        (ids,) = example["decoder_input_ids"]
        # Not from the start again: a prompt stands in front of a transcript alone.
        longer = list(islice(chain(ids, cycle(ids[-1:])), n))
        return {**example, "decoder_input_ids": [longer]}
    first = example[0]
    if isinstance(first, tuple):
        return [(first[0], _repeated(first[1], n))]
    return [_repeated(first, n)]


def _repeated(ids: Sequence[int], n: int) -> list[int]:
    return list(islice(cycle(ids), n))


def _blocks(
    model: ResidualModel, batches: Sequence[Batch]
) -> tuple[Float[ndarray, " layer"], Float[ndarray, " layer"]]:
    """``f(T) = c + a T + b T^2`` of every block, solved for a and b."""
    length = [batch.real.shape[1] for batch in batches]
    f = np.array([_flops(model, batch) for batch in batches])
    if len(batches) == 1:
        a = f[0] / length[0]
        b = np.zeros_like(a)
    else:
        powers = np.vander(np.array(length, float), 3)
        b, a, _ = np.linalg.solve(powers, f).round()
    if not (a > 0).any():
        raise ModelError(
            f"No multiply-adds were seen in the blocks of {model.name}: they run on operations that "
            f"torch.utils.flop_counter does not know. {ADVICE}"
        )
    return a, b


@torch.no_grad()
def _flops(model: ResidualModel, batch: Batch) -> Float[ndarray, " layer"]:
    """Multiply-adds of every block in one pass."""
    seen: list[int] = []
    # Fused attention is not counted on every device; its plain form is.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hooks = [
            (layer, lambda _resid, hook=None: seen.append(counter.get_total_flops()))
            for layer in range(model.n_layers)
        ]
        with model.hooks(hooks):
            model.forward(batch)
    return np.diff(np.array(seen, float), prepend=0.0) / 2


@torch.no_grad()
def _look(model: ResidualModel, lens: Lens | None, layer: int) -> float:
    """Multiply-adds of one reading, without what is made once for all rows."""
    dtype = next(model.host.parameters()).dtype
    found = []
    for rows in (2, 4):
        states = torch.linspace(-1, 1, rows * model.d_model).reshape(rows, -1)
        states = states.to(model.device, dtype)
        with FlopCounterMode(display=False) as counter:
            if lens is None:
                model.readout(states)
            else:
                lens.scores(states, layer)
        found.append(counter.get_total_flops())
    return (found[1] - found[0]) / 4


def _keys_and_values(
    model: ResidualModel, per_pair: Float[ndarray, " layer"], fixed: bool
) -> tuple[Float[ndarray, " layer"], str]:
    """Two products of d with the width of keys; from ``b = 2 heads d_head`` and the share of key heads."""
    if fixed:
        return np.full(model.n_layers, 2.0 * model.d_model**2), ""
    note = ""
    if not per_pair.any():
        note = (
            f"No attention was seen in {model.name}: nothing is counted for what later tokens need of "
            "skipped blocks."
        )
    return model.d_model * per_pair * _key_heads(model), note


def _key_heads(model: ResidualModel) -> float:
    """Heads of keys for each head of queries: 1 unless the model's settings say less."""
    host = model.host
    inner = getattr(host, "original_model", None)
    for config in (
        getattr(inner, "config", None),
        getattr(host, "config", None),
        getattr(host, "cfg", None),
    ):
        heads = _first(config, "n_heads", "num_attention_heads", "n_head")
        keys = _first(config, "n_key_value_heads", "num_key_value_heads", "num_kv_heads")
        if heads and keys:
            return min(keys / heads, 1.0)
    return 1.0


def _first(config: Any, *names: str) -> int | None:
    """The first of these settings that is a number."""
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
