"""How well lenses read the final output off earlier layers, by layer, with intervals over documents.

For a lens that carries h_l to x_l (the logit lens: x_l = h_l) and the final state y = h_{L-1}, over the
tokens of the documents read,

    SSE_c = sum (y_c - x_l,c)^2,    SST_c = sum (y_c - mean y_c)^2
    r2_l = mean over coordinates c of 1 - SSE_c / SST_c

Coordinates that do not vary (SST_c = 0, but for rounding) have nothing to explain and are left out; r2 has no
value where all are. The other measures are means over tokens of `satlens.lenses.agreement`. Every interval
draws whole documents again (`satlens.lenses.quality_sums`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses.agreement import MEASURES, FullOutput
from satlens.lenses.base import Lens, check_model
from satlens.lenses.documents import documents_of
from satlens.lenses.logit import LogitLens
from satlens.lenses.quality_sums import QualitySums
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel, States
from satlens.resampling import DRAWS, LEVEL, Estimate, Intervals, bootstrap

ROWS = 512
"""Tokens whose scores exist at a time."""
ALL = (*MEASURES, "r2")


@dataclass(frozen=True, eq=False)
class Quality:
    """The measures of several methods by layer, with intervals over documents.

    Attributes:
        sums: all that the numbers are made of.
        documents: documents read, if the inputs tell.
        settings: what made it, plain values.
    """

    sums: QualitySums
    documents: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    draws: int = DRAWS
    level: float = LEVEL
    seed: int = DEFAULT_SEED

    @property
    def methods(self) -> tuple[str, ...]:
        """Names, in order."""
        return self.sums.methods

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that were read, in order."""
        return self.sums.layers

    @property
    def tokens(self) -> int:
        """Tokens read."""
        return int(self.sums.tokens.sum())

    def estimate(self, method: str, measure: str) -> Intervals:
        """One measure of one method, by layer.

        Raises:
            InputError: an unknown method or measure.
        """
        return self._over([(method, 1.0)], measure, None)

    def difference(
        self, method: str, other: str, measure: str, layers: Sequence[int] | None = None
    ) -> Intervals:
        """``method - other`` on the same tokens: by layer, or the mean over some layers (one number)."""
        return self._over([(method, 1.0), (other, -1.0)], measure, layers)

    def combined(
        self, signs: Sequence[tuple[str, float]], measure: str, layers: Sequence[int] | None = None
    ) -> Intervals:
        """A sum of methods, each times its factor: by layer, or the mean over some layers."""
        return self._over(signs, measure, layers)

    def over_best(
        self, method: str, others: Sequence[str], measure: str, layers: Sequence[int]
    ) -> tuple[str, Estimate]:
        """How far one method is ahead of the best other one, in the mean over layers.

        The best is found anew in every draw, so the interval knows that it was chosen. Positive is
        better, also where a low measure is.

        Returns:
            The best of the others over all documents, and the estimate.

        Raises:
            InputError: no others, or r2 (which is no mean over tokens).
        """
        if not others or measure not in MEASURES:
            raise InputError(
                f"over_best wants other methods and one of {', '.join(MEASURES)}; got "
                f"{list(others)} and {measure!r}."
            )
        sign = 1 if measure.startswith("precision") else -1
        at = [self._index(self.layers, layer, "layer") for layer in layers]
        column = MEASURES.index(measure)
        rows = [self._index(self.methods, name, "method") for name in (method, *others)]
        totals = [sign * self.sums.agreed[row, at, :, column].mean(0) for row in rows]

        def statistic(s: ndarray) -> ndarray:
            means = s[..., 1:] / s[..., :1]
            return means[..., :1] - means[..., 1:].max(-1, keepdims=True)

        ahead = self._bootstrap(np.column_stack([self.sums.tokens, *totals]), statistic)[0]
        best = int(np.argmax([total.sum() for total in totals[1:]]))
        return others[best], ahead

    def _over(
        self, signs: Sequence[tuple[str, float]], measure: str, layers: Sequence[int] | None
    ) -> Intervals:
        rows = [(self._index(self.methods, name, "method"), sign) for name, sign in signs]
        self._index(ALL, measure, "measure")
        chosen = self.layers if layers is None else layers
        at = [self._index(self.layers, layer, "layer") for layer in chosen]
        if not at:
            raise InputError("No layers to take the mean over.")
        # Every measure is linear in its sums: the mean over layers is that of the summed layers.
        groups = [[one] for one in at] if layers is None else [at]
        if measure == "r2":
            return _side_by_side([self._r2(rows, group) for group in groups])
        column = MEASURES.index(measure)
        totals = [
            sum(sign * self.sums.agreed[row, group, :, column].mean(0) for row, sign in rows)
            for group in groups
        ]
        sums = np.column_stack([self.sums.tokens, *totals])
        return self._bootstrap(sums, lambda s: s[..., 1:] / s[..., :1])

    def _r2(self, rows: Sequence[tuple[int, float]], at: Sequence[int]) -> Intervals:
        """One number; SST does not depend on the method, so r2 adds up as SSE does."""
        there = self.sums.varies()
        of_each = [sign * self.sums.error[row, at].mean(0) for row, sign in rows]
        error = np.stack(of_each).sum(0)[:, there]
        constant = sum(sign for _, sign in rows)
        parts = [self.sums.final[:, there], self.sums.squares[:, there], error]

        def statistic(s: ndarray) -> ndarray:
            y, squares, left = np.split(s[..., 1:], 3, axis=-1)
            spread = squares - y**2 / s[..., :1]
            # A coordinate that only some document moves may lie still in a draw without it.
            moves = spread > 0
            share = np.where(moves, left / np.where(moves, spread, 1.0), 0.0)
            n = moves.sum(-1, keepdims=True)
            return constant - share.sum(-1, keepdims=True) / np.where(n > 0, n, np.nan)

        return self._bootstrap(np.concatenate([self.sums.tokens[:, None], *parts], 1), statistic)

    def _bootstrap(self, sums: ndarray, statistic: Callable[[ndarray], ndarray]) -> Intervals:
        used = sums[self.sums.tokens > 0]
        return bootstrap(used, statistic, draws=self.draws, level=self.level, seed=self.seed)

    def _index(self, known: Sequence[Any], asked: Any, what: str) -> int:
        if asked not in known:
            raise InputError(f"No {what} {asked!r} here; there are {', '.join(map(str, known))}.")
        return known.index(asked)

    def to_frame(self):
        """A pandas frame, one row a (method, layer, measure): value, low, high."""
        import pandas as pd

        rows = []
        for method in self.methods:
            for measure in ALL:
                found = self.estimate(method, measure)
                for i, layer in enumerate(self.layers):
                    one: Estimate = found[i]
                    rows.append((method, layer, measure, one.value, one.low, one.high))
        return pd.DataFrame(rows, columns=["method", "layer", "measure", "value", "low", "high"])


def _side_by_side(parts: Sequence[Intervals]) -> Intervals:
    value, low, high, p = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("value", "low", "high", "p")
    )
    return replace(parts[0], value=value, low=low, high=high, p=p)


def measure(
    model: Any,
    inputs: Any,
    lenses: Mapping[str, Lens],
    *,
    batch_size: int = 8,
    include_bos: bool = False,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> Quality:
    """Read every layer but the last through every lens, beside the model's own output.

    Args:
        model, inputs, batch_size, include_bos, progress: as in `satlens.detect`; the inputs may be
            `Batches`. Give documents that no lens was fitted on, or say that they were.
        lenses: by name; `LogitLens` is the identity. r2 needs a lens that has ``transport``.
        draws, level, seed: of the intervals.

    Raises:
        InputError: no lenses or one of another model, a model of one block, or unusable inputs.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> texts = ["Lily had a red ball.", "One day a dog ran.", "Tom was sad."]
        >>> found = measure(model, texts, {"identity": satlens.LogitLens(model)})
        >>> bool(found.estimate("identity", "precision@10")[14].value > 0.5)
        True
    """
    model = wrap(model)
    if not lenses:
        raise InputError("No lenses to measure: give at least one, by name.")
    if model.n_layers < 2:
        raise InputError(f"{model.name} has one block: there is no earlier layer to read.")
    for lens in lenses.values():
        check_model(lens, model)
    batches = (
        inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size, include_bos)
    )
    layers = tuple(range(model.n_layers - 1))
    sums = QualitySums(tuple(lenses), layers, model.d_model, documents_of(batches))
    with tqdm(
        total=getattr(batches, "n_tokens", None), desc=f"lenses, {model.name}", unit=" tokens",
        disable=not progress,
    ) as bar:  # fmt: skip
        for batch in batches:
            if batch.real.any():
                states = model.states(batch, logits=False)
                read_into(sums, model, states, lenses)
                bar.update(len(states.pos))
    return Quality(
        sums, getattr(batches, "n_documents", None), {"model": model.name}, draws, level, seed
    )


def difference(
    state: Float[Tensor, "token d"], final: Float[Tensor, "token d"]
) -> Float[Tensor, "token d"]:
    """``state - final`` in float64, on the CPU."""
    return state.cpu().double() - final.cpu().double()


@torch.no_grad()
def read_into(
    sums: QualitySums, model: ResidualModel, states: States, lenses: Mapping[str, Lens]
) -> None:
    """Add what the lenses make of one batch."""
    sums.count(states.doc, states.resid[-1])
    for start in range(0, len(states.pos), ROWS):
        rows = slice(start, start + ROWS)
        resid, doc = states.resid[:, rows], states.doc[rows]
        full = FullOutput.of(model.readout(resid[-1]))
        for name, lens in lenses.items():
            for layer in sums.layers:
                scores, state = _read(model, lens, resid[layer], layer)
                error = None if state is None else difference(state, resid[-1])
                sums.add(name, layer, doc, scores, full, error)


def _read(
    model: ResidualModel, lens: Lens, resid: Float[Tensor, "token d"], layer: int
) -> tuple[Tensor, Tensor | None]:
    """The scores of a lens, and the final state that it takes for the model's, if it does."""
    if isinstance(lens, LogitLens):
        return lens.scores(resid, layer), resid
    transport = getattr(lens, "transport", None)
    if transport is None:
        return lens.scores(resid, layer), None
    state = transport(resid, layer)
    return model.readout(state), state
