"""`steer`: no state of another token, only the direction from one stage to the next.

For a recipient r in stage i at layer l, and a strength a,

    h_l(r) := h_l(r) + a v_l,       v_l from the other half of the documents (`satlens.patching.directions`)

A recipient has at least 2 layers of its stage left (s'_i >= l + 2), so that nothing is about to happen by
itself: in the clean run the transition below never comes. With s' the running maximum of the saturation
layers of the steered run, towards its own final ranking,

    transition    s'_i <= l + 1             ranks 1 .. i are fixed at layer l + 1 or before
    advance       s'_i(0) - s'_i            layers by which stage i ends earlier than in the clean run
    kept          t_1 = t_1(0)
    forced        transition, and t_1 .. t_i are those of the clean run

There is no circularity: the direction holds no answer, and has to work on every token. But a push that is
strong enough fixes some answer at once; "forced" counts only the model's own, and every rate is read
beside that of other directions of the same length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import wrap
from satlens.patching.directions import (
    KINDS,
    MIN_STATES,
    Directions,
    check_kinds,
    check_stage,
    directions,
)
from satlens.patching.jobs import Jobs, Outcome, scan_jobs
from satlens.patching.patch import BATCH_TOKENS, LIMIT, check_events, check_same
from satlens.patching.rows import Rows, check_tokens
from satlens.patching.steered import SteeringResult
from satlens.saturation.detect import detect
from satlens.saturation.events import SaturationEvents
from satlens.saturation.ranking import check_k
from satlens.saturation.stages import settled, stage_of

ALPHAS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)
LEFT = 2
"""Layers of the stage that a recipient has left, at least."""


def steer(
    model: Any,
    inputs: Any,
    *,
    events: SaturationEvents | None = None,
    stage: int = 1,
    alphas: Sequence[float] = ALPHAS,
    layers: Sequence[int] | None = None,
    limit: int | None = LIMIT,
    k: int = DEFAULT_K,
    conditions: Sequence[str] = KINDS,
    min_states: int = MIN_STATES,
    batch_tokens: int = BATCH_TOKENS,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> SteeringResult:
    """Push tokens along the direction of the next stage, and see whether it begins.

    Args:
        model, inputs: as in `satlens.patching.patch`.
        events: of these inputs; detected with ``k`` if they are not given.
        stage: i, the stage that tokens are in and are pushed out of.
        alphas: strengths, in units of the mean difference; 0 is the clean run.
        layers: where to push, from 0 to L-3; all layers that have a direction by default.
        limit: recipients, each at one layer, chosen at random.
        conditions: directions, some of `satlens.patching.directions.KINDS`.
        min_states: of each stage and half of the documents, for a layer to have a direction.

    Raises:
        InputError: one document only, no recipients, no strengths, layers outside the model, a stage
            that k ranks do not have, an unknown direction.

    Example:
        >>> import satlens
        >>> from satlens.survey import read_corpus
        >>> model, texts = satlens.load_model("tiny"), read_corpus("bundled").documents[:4]
        >>> result = steer(model, texts, alphas=[1.0], limit=3, k=2, conditions=["means", "random"])
        >>> result.estimate("transition", "means").value.shape
        (1,)
    """
    model = wrap(model)
    conditions, alphas = check_kinds(conditions), check_alphas(alphas)
    check_tokens(batch_tokens)
    rows = Rows.of(model, inputs)
    if events is None:
        check_k(k, model.n_outputs)
        check_stage(stage, k)
        events = detect(model, rows.batches, k=k, progress=progress)
    check_events(events, model)
    layers = check_layers(layers, model.n_layers)
    found = directions(
        model, rows.batches, events, stage=stage, kinds=conditions, min_states=min_states,
        seed=seed, progress=progress,
    )  # fmt: skip
    recipient, at = recipients(events, found, layers, limit, seed, min_states)
    vectors = _vectors(events, found, recipient, at, conditions, seed)
    parts, clean = _run(rows, events, recipient, at, vectors, alphas, batch_tokens, progress)
    names, unit, column, new_layer, new_token = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return SteeringResult(
        events=events, stage=stage, recipient=recipient, at=at, alphas=alphas,
        conditions=tuple(vectors), condition=names, unit=unit, alpha=np.array(alphas)[column],
        new=Outcome(new_layer, new_token), clean=clean, directions=found,
        settings={"model": model.name, "k": events.k, "stage": stage, "alphas": list(alphas),
                  "layers": sorted(set(at.tolist())), "limit": limit, "conditions": list(conditions),
                  "min_states": min_states, "batch_tokens": batch_tokens, "seed": seed},
    )  # fmt: skip


def recipients(
    events: SaturationEvents,
    found: Directions,
    layers: Sequence[int],
    limit: int | None,
    seed: int,
    min_states: int = MIN_STATES,
) -> tuple[Int[ndarray, " unit"], Int[ndarray, " unit"]]:
    """Tokens, each at one layer where it is in the stage, has `LEFT` layers of it left, and a direction.

    Raises:
        InputError: there are none, with how many states each stage has.
    """
    i, n_layers = found.stage, events.n_layers
    stage = stage_of(events.layer, n_layers)
    left = settled(events.layer)[:, i - 1, None] - np.arange(n_layers)
    other = 1 - found.half_of(events.doc)
    able = (stage == i) & (left >= LEFT) & found.usable[other]
    able[:, [layer for layer in range(n_layers) if layer not in layers]] = False
    if not able.any():
        rest = ((stage == i) & (left >= LEFT)).any(1).sum()
        counts = found.counts.min(0).tolist()
        raise InputError(
            f"No token to steer out of stage {i}: {rest:,} of {len(events):,} tokens have {LEFT} layers "
            f"of it left somewhere, and a layer needs {min_states} states in stage {i} and as many "
            f"in stage {i + 1} in each half of the documents. Found in the smaller half, by layer: "
            f"{counts}; asked for layers {list(layers)}. Give more text, or another stage or layers."
        )
    rng = np.random.default_rng([seed, 2])
    rows = rng.permutation(np.flatnonzero(able.any(1)))[:limit]
    at = [rng.choice(np.flatnonzero(able[row])) for row in rows]
    return rows, np.array(at, np.int64)


def _vectors(
    events: SaturationEvents,
    found: Directions,
    recipient: ndarray,
    at: ndarray,
    conditions: Sequence[str],
    seed: int,
) -> dict[str, Float[ndarray, "unit d"]]:
    """By condition, the direction for each recipient, from the other half; NaN where there is none."""
    other = 1 - found.half_of(events.doc[recipient])
    rng, vectors = np.random.default_rng([seed, 3]), {}
    for name in conditions:
        if name == "random":
            d = found.vectors["means"].shape[-1]
            drawn = rng.standard_normal((len(recipient), d))
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            vectors[name] = drawn * found.norm[other, at][:, None]
        elif name in found.vectors:
            draw = rng.integers(len(found.vectors[name]), size=len(recipient))
            vectors[name] = found.vectors[name][draw, other, at]
    return vectors


def _run(
    rows: Rows,
    events: SaturationEvents,
    recipient: ndarray,
    at: ndarray,
    vectors: Mapping[str, ndarray],
    alphas: Sequence[float],
    max_tokens: int,
    progress: bool,
) -> tuple[list[tuple[ndarray, ...]], Outcome]:
    """The steered runs as columns of the result, and the clean ones."""
    row, column = rows.find(events.doc[recipient], events.pos[recipient])
    known = {name: np.flatnonzero(np.isfinite(v).all(1)) for name, v in vectors.items()}
    total = len(recipient) + len(alphas) * sum(map(len, known.values()))
    parts = []
    with tqdm(
        total=total, desc=f"steer, {rows.model.name}", unit=" runs", disable=not progress
    ) as bar:
        options: dict[str, Any] = {"k": events.k, "max_tokens": max_tokens, "bar": bar}
        clean = scan_jobs(rows, Jobs(row, column), **options)
        check_same(events.token[recipient, 0], clean.token[:, 0], rows.model.name)
        for name, vector in vectors.items():
            unit = np.repeat(known[name], len(alphas))
            which = np.tile(np.arange(len(alphas)), len(known[name]))
            added = torch.tensor(vector[unit] * np.array(alphas)[which, None], dtype=torch.float32)
            jobs = Jobs(row[unit], column[unit], at[unit], added, mode="add")
            out = scan_jobs(rows, jobs, **options)
            parts.append((np.full(len(unit), name), unit, which, out.layer, out.token))
    return parts, clean


def check_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """Strengths in ascending order; refuse none, the same twice, and what is no number."""
    given = list(alphas)
    numbers = sorted(float(a) for a in given)
    if not numbers or len(set(numbers)) < len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"alphas must be finite numbers, at least one, each once; got {given}.")
    return tuple(numbers)


def check_layers(layers: Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    """Layers at which a stage can have `LEFT` layers left."""
    last = n_layers - 1 - LEFT
    if layers is None:
        return tuple(range(last + 1))
    outside = [layer for layer in layers if not 0 <= layer <= last]
    if outside or not len(layers):
        raise InputError(
            f"layers must be some of 0 .. {last}, where a stage can have {LEFT} layers left in a model of "
            f"{n_layers}; got {list(layers)}."
        )
    return tuple(sorted({int(layer) for layer in layers}))
