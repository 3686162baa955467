"""The gain of layers that know nothing of the question, and what the real ones have above it.

    shuffled               real layers, among positions of one stratum of the final output
    rotated, exchanged     layers along other paths into the same final state: any path that converges
    untrained              layers of an untrained model's own ranks at the same positions

    excess = gain(real) - mean over draws of gain(null)

The final ranking, the probabilities and the next tokens are the real ones throughout. An interval draws the
documents again, the same ones for the real and the null layers and for every null, so that the smallest
excess is found anew in each draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.nulls import NullDraws
from satlens.nulls.block import PATH_NULLS
from satlens.nulls.draws import NULL_DRAWS
from satlens.reranking.adjusted import Partial, gain_of
from satlens.reranking.tokens import NextTokens
from satlens.resampling import DRAWS, LEVEL, Estimate, bootstrap, finite

KINDS = ("shuffled", *PATH_NULLS, "untrained")
"""Every null, in the order of results."""
BEYOND = (*PATH_NULLS, "untrained")
"""Nulls of how a path converges; "shuffled" is of the final output."""


@dataclass(frozen=True, eq=False)
class NullGain:
    """One null.

    Attributes:
        kind: a name of `KINDS`. values: ``[draw]`` its gain, draw by draw.
        real: the gain of the real layers at the same positions. tokens: how many these are.
        excess: real minus the mean of the draws.
    """

    kind: str
    values: Float[ndarray, " draw"]
    real: float
    excess: Estimate
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: draws, tokens, gain, values, real, excess."""
        return {
            "draws": len(self.values),
            "tokens": self.tokens,
            "gain": finite(np.mean(self.values)) if len(self.values) else None,
            "values": [finite(one) for one in self.values],
            "real": finite(self.real),
            "excess": self.excess.to_dict(),
        }

    @staticmethod
    def unavailable(kind: str) -> "NullGain":
        """No numbers; the reason is among the notes of the report."""
        return NullGain(kind, np.empty(0), np.nan, Estimate(np.nan, np.nan, np.nan), 0)


@dataclass(frozen=True, eq=False)
class NullGains:
    """Every null beside the real layers.

    Attributes:
        kinds: by name, in the order of `KINDS`. shuffled: the excess over "shuffled".
        beyond: the smallest excess over the others, found anew in each draw. strictest: that null.
        notes: nulls that gave no number, and why.
    """

    kinds: Mapping[str, NullGain]
    shuffled: Estimate
    beyond: Estimate
    strictest: str
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, by kind."""
        return {kind: one.to_dict() for kind, one in self.kinds.items()}

    @staticmethod
    def unavailable(note: str) -> "NullGains":
        """No numbers, and why."""
        none = Estimate(np.nan, np.nan, np.nan, note=note)
        return NullGains({kind: NullGain.unavailable(kind) for kind in KINDS}, none, none, "")


def null_gains(
    partial: Partial,
    tokens: NextTokens,
    nulls: Mapping[str, NullDraws],
    *,
    rank: int = 2,
    shuffles: int = NULL_DRAWS,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
) -> NullGains:
    """The gain of every null there is, beside the real one.

    Args:
        partial, tokens: the rank at the positions where top-1 is wrong, in the same order.
        nulls: by kind, as `satlens.reranking.collect` gives them; "shuffled" is drawn here.
        shuffles: draws of "shuffled".
    """
    documents = np.unique(partial.doc)
    last = tokens.n_layers - 1
    leads: dict[str, tuple[Any, ndarray]] = {
        "shuffled": (slice(None), partial.shuffled(np.random.default_rng([seed, 2]), shuffles))
    }
    for kind in BEYOND:
        if kind in nulls:
            lead = 1 - nulls[kind].layer[:, :, rank - 1] / last
            leads[kind] = (rows_of(tokens, nulls[kind]), lead)
    sums, sizes, notes = {}, {}, []
    for kind, (rows, drawn) in leads.items():
        own = partial.rows(rows)
        found = own.sums(np.concatenate([own.lead[None], drawn]))
        if not np.isfinite(gain_of(found.sum(0))).all():
            notes.append(
                f"{kind}: not available. The final output leaves nothing open of its layers."
            )
            continue
        sums[kind] = np.zeros((len(documents), *found.shape[1:]))
        sums[kind][np.searchsorted(documents, np.unique(own.doc))] = found
        sizes[kind] = len(own.u)
    if not sums:
        return NullGains.unavailable("no interval: no null gave a number")
    return _compared(sums, sizes, notes, draws=draws, level=level, seed=seed)


def _compared(
    sums: Mapping[str, Float[ndarray, "doc draw 3"]],
    sizes: Mapping[str, int],
    notes: Sequence[str],
    **how: Any,
) -> NullGains:
    """One bootstrap over documents for all nulls; in ``sums`` the first draw is the real one."""
    kinds, shapes = list(sums), [one.shape[1:] for one in sums.values()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()
    beyond = [i for i, kind in enumerate(kinds) if kind in BEYOND]

    def differences(flat: Float[ndarray, "... m"]) -> Float[ndarray, "... q"]:
        columns = []
        for end, shape in zip(ends, shapes, strict=True):
            part = flat[..., end - int(np.prod(shape)) : end]
            gain = gain_of(part.reshape(*flat.shape[:-1], *shape))
            columns.append(gain[..., 0] - gain[..., 1:].mean(-1))
        if beyond:
            columns.append(np.min([columns[i] for i in beyond], axis=0))
        return np.stack(columns, axis=-1)

    flat = np.concatenate([one.reshape(len(one), -1) for one in sums.values()], axis=1)
    made = bootstrap(flat, differences, **how)
    found = {kind: NullGain.unavailable(kind) for kind in KINDS}
    for i, kind in enumerate(kinds):
        gain = gain_of(sums[kind].sum(0))
        found[kind] = NullGain(kind, gain[1:], float(gain[0]), made[i], sizes[kind])
    none = Estimate(np.nan, np.nan, np.nan, note="no interval: no such null could be drawn")
    return NullGains(
        kinds=found,
        shuffled=found["shuffled"].excess,
        beyond=made[len(kinds)] if beyond else none,
        strictest=min(
            (kinds[i] for i in beyond), key=lambda kind: found[kind].excess.value, default=""
        ),
        notes=notes,
    )


def rows_of(tokens: NextTokens, null: NullDraws) -> Int[ndarray, " m"]:
    """The rows of ``tokens`` that a null was drawn for, in its own order.

    Raises:
        InputError: a position of the null is not among them.
    """
    row = {key: i for i, key in enumerate(tokens.places())}
    keys = list(zip(null.events.doc.tolist(), null.events.pos.tolist(), strict=True))
    lacking = [key for key in keys if key not in row]
    if lacking:
        raise InputError(
            f"The null {null.kind!r} has {len(lacking)} positions that are not among those judged (the "
            f"first: document {lacking[0][0]}, position {lacking[0][1]}). Draw it for positions where top-1 "
            "is wrong."
        )
    return np.array([row[key] for key in keys], np.int64)
