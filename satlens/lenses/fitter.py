"""`ShortcutFitter`: the moments of all layers in one stream, and linear shortcuts from them.

    sum over tokens of h_i h_i' and h_j h_i'        for every pair of layers i < j that is asked for

Everything that a least-squares map needs is in these sums (`satlens.lenses.regression`), so one pass over the
inputs fits every map, with any ridge and any rank, and sums of several parts add up.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from satlens.errors import InputError
from satlens.lenses.identity import ModelIdentity
from satlens.lenses.linear import LinearMap, LinearShortcut, Pairs, check_pair
from satlens.lenses.moments import Moments, PairMoments
from satlens.lenses.regression import (
    Fitted,
    LowRank,
    check_rank,
    check_ridge,
    least_squares,
    reduced_rank,
    shared_subspace,
)
from satlens.models import Batches, wrap
from satlens.models.protocol import States

SHARED = ("subspace", "map")


class ShortcutFitter:
    """Learns linear shortcuts; `shortcut` gives a frozen one at any time.

    Args:
        model: anything that `satlens.wrap` takes.
        pairs: which maps to fit: None for every layer to the last one, "all" for every i < j, or a
            list of pairs (i, j). Memory: a ``[d, d]`` matrix in float64 a layer, and one a pair.
        shuffle: a seed; the state that a map is to give is then that of another token of the same
            batch. A null: what is left of a map that knows nothing of its own token.

    Attributes:
        n: states seen of each layer.

    Source: Yom Din et al. 2023, section 2; low ranks after 2409.14091 and 2504.13984, by least squares.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> one, two = satlens.lenses.ShortcutFitter(model), satlens.lenses.ShortcutFitter(model)
        >>> fitter = one.fit("Lily had a ball. " * 40).merge(two.fit("Tom had a dog. " * 40))
        >>> fitter.shortcut(ridge=0.01, rank=8).maps[3, 15].rank
        8
    """

    def __init__(self, model: Any, *, pairs: Pairs = None, shuffle: int | None = None) -> None:
        self.model = wrap(model)
        self.pairs = chosen_pairs(self.model, pairs)
        self.shuffle = shuffle
        self.identity = ModelIdentity.of(self.model)
        self._moments = Moments([self._keys(i, j) for i, j in self.pairs])
        self._updates = 0

    @property
    def n(self) -> int:
        """States seen of each layer."""
        return self._moments.n

    def update(self, states: States) -> "ShortcutFitter":
        """Add the states of one batch.

        Raises:
            InputError: states of another model. NumericsError: NaN; nothing is added then.
        """
        shape = (states.resid.shape[0], states.resid.shape[-1])
        if shape != (self.model.n_layers, self.model.d_model):
            raise InputError(
                f"States of {self.model.name} are [{self.model.n_layers} layers, token, "
                f"{self.model.d_model}]; got {tuple(states.resid.shape)}."
            )
        other: Any = slice(None)
        if self.shuffle is not None:
            other = _others(len(states.pos), self.shuffle, self._updates).to(states.resid.device)
        values = {}
        for i, j in self.pairs:
            source, target = self._keys(i, j)
            values[source] = states.resid[i]
            if target not in values:
                values[target] = states.resid[j][other]
        self._moments.update(values)
        self._updates += 1
        return self

    def fit(
        self,
        inputs: Any,
        *,
        batch_size: int = 8,
        include_bos: bool = False,
        progress: bool = False,
    ) -> "ShortcutFitter":
        """Run the model over the inputs once, and add its states; may be called again with more.

        Args:
            inputs: as in `satlens.detect`, or `Batches` made before.
        """
        batches = (
            inputs
            if isinstance(inputs, Batches)
            else self.model.batches(inputs, batch_size, include_bos)
        )
        total = getattr(batches, "n_tokens", None)
        with tqdm(
            total=total, desc=f"fit, {self.model.name}", unit=" tokens", disable=not progress
        ) as bar:
            for batch in batches:
                if batch.real.any():
                    states = self.model.states(batch, logits=False)
                    self.update(states)
                    bar.update(len(states.pos))
        return self

    def merge(self, other: "ShortcutFitter") -> "ShortcutFitter":
        """Add what another fitter has seen; equal to one fitter that saw both, up to rounding.

        Raises:
            InputError: the other is of another model, of other pairs, or shuffled otherwise.
        """
        if not isinstance(other, ShortcutFitter):
            raise InputError(f"merge takes a ShortcutFitter; got {type(other).__name__}.")
        if other.model.host is not self.model.host or not self.identity.same(other.identity):
            self.identity.check(other.model, "This fitter")
        for name in ("pairs", "shuffle"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise InputError(
                    f"Fitters of other settings cannot be merged: {name} is {mine} here and {theirs} in "
                    "the other."
                )
        self._moments.merge(other._moments)
        self._updates += other._updates
        return self

    def shortcut(
        self,
        *,
        ridge: float = 0.0,
        intercept: bool = False,
        rank: int | None = None,
        shared: str | None = None,
        residual: bool = False,
    ) -> LinearShortcut:
        """The least-squares maps of what was seen until now, frozen.

        Args:
            ridge: penalty, as a share of the mean squared coordinate of h_i; 0 for none.
            intercept: fit ``A h + b`` in place of ``A h``.
            rank: the best maps of this rank (see `satlens.lenses.regression`).
            shared: with ``rank``, what the maps to one layer share. "subspace": each has its own
                ``[rank, d]`` factor, and all write into one subspace, ``A_i = U B_i``. "map": one map,
                ``A_i = U B`` for every i.
            residual: fit ``h_j - h_i ~ A h_i`` and add h_i again. Without ridge and rank these are the
                same maps; ridge and low rank then lead back to the identity in place of 0.

        Raises:
            InputError: fewer states than coordinates without ridge, or settings that mean nothing.
        """
        check_shape(ridge, rank, shared, self.model.d_model)
        self._seen_some()
        maps, directions = self._maps(ridge, intercept, rank, shared, residual)
        name = "shortcut" if rank is None else f"shortcut, rank {rank}"
        name += ", residual" if residual else ""
        name += {None: "", "subspace": ", one subspace", "map": ", one map"}[shared]
        return LinearShortcut(
            self.model, maps, identity=self.identity,
            name=name if self.shuffle is None else f"{name}, shuffled",
            settings={
                "states": self.n, "ridge": ridge, "intercept": intercept, "rank": rank,
                "shared": shared, "residual": residual, "shuffle": self.shuffle,
                "directions": directions,
            },
        )  # fmt: skip

    def mean_state(self) -> LinearShortcut:
        """Maps that give the mean later state whatever they read: a null for every other map.

        Raises:
            InputError: no states were seen yet.
        """
        return self._of_means("mean state", lambda _, target: target, residual=False)

    def shift(self) -> LinearShortcut:
        """``h_i + (mean h_j - mean h_i)``: what a change of the mean alone does, a control for maps.

        Raises:
            InputError: no states were seen yet.
        """
        return self._of_means("shift", lambda source, target: target - source, residual=True)

    def _of_means(
        self, name: str, bias: Callable[[Tensor, Tensor], Tensor], residual: bool
    ) -> LinearShortcut:
        self._seen_some()
        to, maps = torch.promote_types(self._moments.dtype, torch.float32), {}
        for i, j in self.pairs:
            source, target = (self._moments.mean(key) for key in self._keys(i, j))
            maps[i, j] = LinearMap((), self._kept(bias(source, target), to), residual)
        return LinearShortcut(self.model, maps, {"states": self.n}, name, self.identity)

    def _seen_some(self) -> None:
        if not self.n:
            raise InputError(
                "The fitter has seen no states yet: call fit(inputs) or update(states)."
            )

    def _maps(
        self, ridge: float, intercept: bool, rank: int | None, shared: str | None, residual: bool
    ) -> tuple[dict[tuple[int, int], LinearMap], dict[str, int]]:
        """The maps, and in how many directions the states of each layer vary."""
        to = torch.promote_types(self._moments.dtype, torch.float32)

        def frozen(fitted: Fitted | LowRank) -> LinearMap:
            factors = (
                (fitted.weight,) if isinstance(fitted, Fitted) else (fitted.outer, fitted.inner)
            )
            bias = fitted.bias
            factors = tuple(self._kept(factor, to) for factor in factors)
            return LinearMap(factors, None if bias is None else self._kept(bias, to), residual)

        maps: dict[tuple[int, int], LinearMap] = {}
        directions: dict[str, int] = {}
        for j in sorted({j for _, j in self.pairs}):
            sources = [i for i, to_j in self.pairs if to_j == j]
            if shared == "map":
                fitted = self._pooled(sources, j, ridge, intercept, residual)
                directions[f"pooled to {j}"] = fitted.directions
                one = frozen(reduced_rank(fitted, cast(int, rank)))
                maps |= {(i, j): one for i in sources}
                continue
            fits = [
                least_squares(self._pair(i, j, residual), ridge, intercept, f"layer {i} to {j}")
                for i in sources
            ]
            directions |= {str(i): one.directions for i, one in zip(sources, fits, strict=True)}
            if shared == "subspace":
                low = shared_subspace(fits, cast(int, rank))
                outer = self._kept(low[0].outer, to)
                done = [frozen(one) for one in low]
                done = [replace(one, factors=(outer, one.factors[1])) for one in done]
            else:
                done = [frozen(one if rank is None else reduced_rank(one, rank)) for one in fits]
            maps |= {(i, j): one for i, one in zip(sources, done, strict=True)}
        return {pair: maps[pair] for pair in self.pairs}, directions

    def _keys(self, i: int, j: int) -> tuple[str, str]:
        """The names of a map's input and of what it is to give."""
        return f"layer {i}", f"layer {j}" if self.shuffle is None else f"another token, layer {j}"

    def _pair(self, i: int, j: int, residual: bool) -> PairMoments:
        moments = self._moments.pair(*self._keys(i, j))
        return moments.of_difference() if residual else moments

    def _pooled(
        self, sources: Sequence[int], j: int, ridge: float, intercept: bool, residual: bool
    ) -> Fitted:
        moments = self._pair(sources[0], j, residual)
        for i in sources[1:]:
            moments = moments.pooled(self._pair(i, j, residual))
        return least_squares(moments, ridge, intercept, f"layers {sources} to {j}")

    def _kept(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """A copy of its own, where the model is."""
        return values.to(dtype, copy=True).to(self.model.device).contiguous()


def chosen_pairs(model: Any, pairs: Pairs) -> tuple[tuple[int, int], ...]:
    """The pairs of layers that are meant, in order, each once.

    Raises:
        InputError: no pairs, a layer that is not there, or a jump that does not go forward.
    """
    last = model.n_layers - 1
    if pairs is None:
        pairs = [(i, last) for i in range(last)]
    elif isinstance(pairs, str):
        if pairs != "all":
            raise InputError(f'pairs must be None, "all" or a list of pairs (i, j); got {pairs!r}.')
        pairs = list(combinations(range(last + 1), 2))
    pairs = list(pairs)
    for pair in pairs:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise InputError(f"pairs must hold pairs of layers (i, j); got {pair!r}.")
        check_pair(model, *pair)
    if not pairs:
        raise InputError(
            f"No pairs of layers to fit: {model.name} has {model.n_layers} block(s), and a shortcut goes "
            "from one to a later one."
        )
    return tuple(sorted({(int(i), int(j)) for i, j in pairs}))


def check_shape(ridge: float, rank: int | None, shared: str | None, width: int) -> None:
    """Refuse settings that mean nothing, before anything is fitted.

    Raises:
        InputError: a ridge below 0, a rank outside 1 .. d, or sharing of an unknown kind or of no rank.
    """
    check_ridge(ridge)
    if rank is not None:
        check_rank(rank, width)
    if shared is not None and shared not in SHARED:
        raise InputError(f"shared must be None, {' or '.join(map(repr, SHARED))}; got {shared!r}.")
    if shared is not None and rank is None:
        raise InputError(f"shared={shared!r} is for maps of low rank: give rank as well.")


def _others(n: int, seed: int, update: int) -> Tensor:
    """For every token the place of another one (of itself only where it is alone)."""
    order = torch.from_numpy(np.random.default_rng([seed, update]).permutation(n))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other
