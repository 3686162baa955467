"""`patch`: the donor's state, put into the recipient at the same layer and position.

For a pair (donor d, recipient r) and an offset o, behind block l = s_1(d) + o

    h_l(r) := h_l(d),

all other positions untouched; then the model runs on, and every rank of what it now says is followed back to
the layer from which it is fixed. Source: Lioubashevski et al. 2025, section 5. The published code puts the
patched INPUT of a block in place of its output, so that the block is skipped at every position; here the
output is patched.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from tqdm import tqdm

from satlens.conventions import DEFAULT_K, DEFAULT_SEED
from satlens.errors import InputError
from satlens.models import wrap
from satlens.patching.donors import CONDITIONS, prepare, sources
from satlens.patching.jobs import Jobs, Outcome, scan_jobs
from satlens.patching.pairs import Pairs, find_pairs
from satlens.patching.result import PatchingResult
from satlens.patching.rows import Rows, check_tokens
from satlens.saturation.detect import detect
from satlens.saturation.events import SaturationEvents
from satlens.saturation.ranking import check_k

LIMIT = 300
"""Pairs, when nothing else is said."""
BATCH_TOKENS = 4096
FARTHEST = 5
"""The paper patches from 5 layers before to 5 after the donor's saturation layer."""
SAME_EVENTS = 0.99
"""Share of recipients whose top-1 in the clean run must be that of the events."""


def patch(
    model: Any,
    inputs: Any,
    pairs: Pairs | None = None,
    *,
    events: SaturationEvents | None = None,
    k: int = DEFAULT_K,
    offsets: Sequence[int] | None = None,
    conditions: Sequence[str] = CONDITIONS,
    gap: int | None = None,
    limit: int | None = LIMIT,
    batch_tokens: int = BATCH_TOKENS,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> PatchingResult:
    """Put early tokens' states into late tokens of the same answer, and read what becomes of every rank.

    Args:
        model: anything that `satlens.wrap` takes.
        inputs: what the model reads, as in `satlens.detect`, or `Batches` made before.
        pairs: from `find_pairs`, on the events of these inputs; by default it is called here, with
            ``gap``, ``limit`` and ``seed``.
        events: of these inputs, to find pairs in; detected if they are not given.
        k: ranks to follow in the patched runs, at least 2.
        offsets: layers from the donor's saturation layer; by default -5 .. min(5, gap) as far as
            they fall inside the model. A pair is left out where its layer is not 0 .. L-2.
        conditions: what is put in, some of `satlens.patching.CONDITIONS`.
        batch_tokens: about how many tokens one forward pass holds.
        seed: of pairs, controls and random directions.

    Raises:
        InputError: no pairs, offsets outside the model, an unknown condition, events of other inputs
            or another model, unusable settings.

    Example:
        >>> import satlens
        >>> model, texts = satlens.load_model("tiny"), ["Tom had a red ball. Tom ran.", "Tom ran."]
        >>> result = patch(model, texts, gap=1, offsets=[0], conditions=["paired", "self"])
        >>> float(result.estimate("advance", "self").value.max())
        0.0
    """
    model = wrap(model)
    conditions = check_conditions(conditions)
    check_ranks(k, model.n_outputs)
    check_tokens(batch_tokens)
    rows = Rows.of(model, inputs)
    if pairs is None:
        events = events or detect(model, rows.batches, k=k, progress=progress)
        pairs = find_pairs(events, gap=gap, limit=limit, seed=seed)
    check_events(pairs.events, model)
    offsets, layer = patched_layers(pairs, offsets)
    inside = (layer >= 0) & (layer <= model.n_layers - 2)
    chosen = {c: sources(c, pairs, np.where(inside, layer, -1), seed) for c in conditions}
    run = _Runs(rows, pairs, k, batch_tokens, seed)
    with tqdm(
        total=len(pairs) + int(sum((inside & (s >= 0)).sum() for s in chosen.values())),
        desc=f"patch, {model.name}", unit=" runs", disable=not progress,
    ) as bar:  # fmt: skip
        clean = run.clean(bar)
        parts = [run.condition(c, layer, inside, source, bar) for c, source in chosen.items()]
    names, pair, column, at, source, new_layer, new_token = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return PatchingResult(
        pairs=pairs, offsets=offsets, conditions=conditions, condition=names, pair=pair,
        offset=np.array(offsets)[column], layer=at, source=source,
        new=Outcome(new_layer, new_token), clean=clean, n_layers=model.n_layers,
        left_out=dict(zip(offsets, (~inside).sum(0).tolist(), strict=True)),
        settings={"model": model.name, "k": k, "offsets": list(offsets),
                  "conditions": list(conditions), "batch_tokens": batch_tokens, "seed": seed,
                  "pairs": dict(pairs.settings)},
    )  # fmt: skip


class _Runs:
    """The runs of one call of `patch`."""

    def __init__(self, rows: Rows, pairs: Pairs, k: int, max_tokens: int, seed: int) -> None:
        self.rows, self.pairs, self.k = rows, pairs, k
        self.max_tokens, self.seed = max_tokens, seed

    def clean(self, bar: "tqdm[Any]") -> Outcome:
        """The recipients as they are, cut and batched like the patched runs."""
        events, recipient = self.pairs.events, self.pairs.recipient
        place = self.rows.find(events.doc[recipient], events.pos[recipient])
        out = scan_jobs(self.rows, Jobs(*place), k=self.k, max_tokens=self.max_tokens, bar=bar)
        check_same(events.token[recipient, 0], out.token[:, 0], self.rows.model.name)
        return out

    def condition(
        self,
        name: str,
        layer: Int[ndarray, "pair offset"],
        inside: Bool[ndarray, "pair offset"],
        source: Int[ndarray, "pair offset"],
        bar: "tqdm[Any]",
    ) -> tuple[ndarray, ...]:
        """All pairs and offsets of one condition, as columns of the result."""
        pair, column = np.nonzero(inside & (source >= 0))
        at, token = layer[pair, column], source[pair, column]
        jobs = prepare(
            name, self.pairs, self.rows, pair, at, token, max_tokens=self.max_tokens, seed=self.seed
        )
        out = scan_jobs(self.rows, jobs, k=self.k, max_tokens=self.max_tokens, bar=bar)
        if name == "random_direction":
            token = np.full_like(token, -1)
        return np.full(len(pair), name), pair, column, at, token, out.layer, out.token


def patched_layers(
    pairs: Pairs, offsets: Sequence[int] | None
) -> tuple[tuple[int, ...], Int[ndarray, "pair offset"]]:
    """The offsets in ascending order, and the layer of each pair at each of them.

    Raises:
        InputError: no offsets, offsets twice, or one at which no pair is inside the model.
    """
    n_layers = pairs.events.n_layers
    first, last = int(pairs.donor_layer.min()), int(pairs.donor_layer.max())
    if offsets is None:
        farthest = min(FARTHEST, int(pairs.settings.get("gap") or FARTHEST))
        every = range(-FARTHEST, farthest + 1)
        offsets = [o for o in every if last + o >= 0 and first + o <= n_layers - 2]
    asked = [int(o) for o in offsets]
    if not asked or len(set(asked)) < len(asked) or asked != list(offsets):
        raise InputError(f"offsets must be whole numbers, each once; got {list(offsets)}.")
    layer = pairs.donor_layer[:, None] + np.array(sorted(asked))
    empty = ~((layer >= 0) & (layer <= n_layers - 2)).any(0)
    if empty.any():
        bad = np.array(sorted(asked))[empty].tolist()
        raise InputError(
            f"At offset {', '.join(map(str, bad))} no pair can be patched: the donors saturate at "
            f"layers {first} to {last}, and the layers to patch are 0 to {n_layers - 2}. Offsets "
            f"from {-last} to {n_layers - 2 - first} fall inside."
        )
    return tuple(sorted(asked)), layer


def check_conditions(conditions: Sequence[str]) -> tuple[str, ...]:
    """The conditions in the order of `CONDITIONS`; refuse unknown ones."""
    conditions = [conditions] if isinstance(conditions, str) else list(conditions)
    unknown = [name for name in conditions if name not in CONDITIONS]
    if unknown or not conditions:
        raise InputError(
            f"conditions must be some of {', '.join(CONDITIONS)}; got {', '.join(unknown) or 'none'}."
        )
    return tuple(name for name in CONDITIONS if name in conditions)


def check_ranks(k: int, n_outputs: int) -> None:
    """Patching asks about rank 2."""
    check_k(k, n_outputs)
    if k < 2:
        raise InputError(
            f"Patching follows rank 2 (the next stage), so k must be at least 2; got {k}."
        )


def check_events(events: SaturationEvents, model: Any) -> None:
    """Refuse events of a model of another depth."""
    if events.n_layers != model.n_layers:
        raise InputError(
            f"The events are of a model of {events.n_layers} layers; {model.name} has {model.n_layers}."
        )


def check_same(events: Int[ndarray, " n"], clean: Int[ndarray, " n"], name: str) -> None:
    """Refuse events that the model does not reproduce (a few near-ties may round differently)."""
    same = float((events == clean).mean())
    if same < SAME_EVENTS:
        raise InputError(
            f"Only {same:.0%} of {len(clean)} recipients have the final top-1 that the events say: the "
            f"events are not those of {name} on these inputs. Detect them again."
        )
