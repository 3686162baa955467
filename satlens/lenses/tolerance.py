"""Which sub-module tolerates a linear map in its place? The model's output beside the changed model's.

For a kind of sub-module and a layer l, the model runs with the kind's maps in place in blocks l + 1 .. L - 1
(`satlens.lenses.SubmoduleMaps.replaced`), and its final state and logits are held against the full model's
by the measures of `satlens.lenses.quality`. So l counts as it does for a lens: the state after block l is
still the model's own.

A part that does little is missed little, whatever stands in its place. Beside each map stands its null, the
mean of what the part writes ("mean"): what a map is worth is what it gives over that.
"""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from satlens.conventions import DEFAULT_SEED
from satlens.errors import InputError
from satlens.lenses.agreement import FullOutput
from satlens.lenses.documents import documents_of
from satlens.lenses.quality import ROWS, Quality, difference
from satlens.lenses.quality_sums import QualitySums
from satlens.lenses.submodule_maps import SubmoduleMaps
from satlens.models import Batches, wrap
from satlens.models.protocol import Batch, ResidualModel
from satlens.resampling import DRAWS, LEVEL

BY = ("map", "mean")


def method_name(kind: str, by: str) -> str:
    """How a kind of sub-module and what stands in its place are named.

    >>> method_name("mlp", "map"), method_name("mlp", "mean")
    ('mlp', 'mlp, mean')
    """
    return kind if by == "map" else f"{kind}, {by}"


def tolerance(
    model: Any,
    inputs: Any,
    maps: SubmoduleMaps,
    *,
    layers: Sequence[int] | None = None,
    batch_size: int = 8,
    include_bos: bool = False,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = DEFAULT_SEED,
    progress: bool = False,
) -> Quality:
    """The measures of the model with each kind of sub-module replaced behind each layer.

    One forward pass a kind, layer and substitute (map or mean): give few documents, or few layers.

    Args:
        model, inputs, batch_size, include_bos, progress: as in `satlens.detect`; documents that the
            maps were not fitted on.
        maps: of this model.
        layers: the last layers that are left alone; 0 .. L - 2 if not given.

    Raises:
        InputError: maps of another model, or a layer outside 0 .. L - 2.

    Example:
        >>> import satlens
        >>> model = satlens.wrap(satlens.load_model("tiny"))
        >>> maps = satlens.lenses.SubmoduleMaps.fit(model, "Lily had a red ball. " * 40, ridge=0.01)
        >>> found = tolerance(model, ["One day a dog ran.", "Tom was sad."], maps, layers=[12])
        >>> found.methods[:4]
        ('norm1', 'attention', 'norm2', 'mlp')
    """
    model = wrap(model)
    if maps.model.host is not model.host:
        raise InputError(f"The maps are of {maps.model.name}; the model given is another one.")
    last = model.n_layers - 1
    chosen = tuple(range(last)) if layers is None else tuple(sorted(set(layers)))
    outside = [layer for layer in chosen if not 0 <= layer < last]
    if outside or not chosen:
        raise InputError(
            f"Blocks behind a layer are replaced, so layers must be some of 0 to {last - 1}; got "
            f"{list(layers or [])}."
        )
    batches = (
        inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size, include_bos)
    )
    methods = tuple(method_name(kind, by) for by in BY for kind in maps.kinds)
    sums = QualitySums(methods, chosen, model.d_model, documents_of(batches))
    runs = [(kind, by, layer) for layer in chosen for kind in maps.kinds for by in BY]
    with tqdm(
        total=getattr(batches, "n_tokens", 0) * len(runs), unit=" tokens", disable=not progress,
        desc=f"sub-modules, {model.name}",
    ) as bar:  # fmt: skip
        for batch in batches:
            if batch.real.any():
                _read(sums, model, maps, batch, runs)
                bar.update(int(batch.real.sum()) * len(runs))
    return Quality(
        sums, getattr(batches, "n_documents", None), {"model": model.name}, draws, level, seed
    )


@torch.no_grad()
def _read(
    sums: QualitySums,
    model: ResidualModel,
    maps: SubmoduleMaps,
    batch: Batch,
    runs: Sequence[tuple[str, str, int]],
) -> None:
    states = model.states(batch, logits=False)
    final = states.resid[-1]
    sums.count(states.doc, final)
    chunks = [slice(start, start + ROWS) for start in range(0, len(final), ROWS)]
    full = [FullOutput.of(model.readout(final[rows])) for rows in chunks]
    for kind, by, layer in runs:
        with maps.replaced(kind, layer + 1, by=by):
            changed = model.states(batch, logits=False).resid[-1]
        for rows, own in zip(chunks, full, strict=True):
            error = difference(changed[rows], final[rows])
            scores = model.readout(changed[rows])
            sums.add(method_name(kind, by), layer, states.doc[rows], scores, own, error)
