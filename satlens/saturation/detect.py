"""`detect`: run a model over inputs, and find the layer from which each rank is fixed.

    h_0 .. h_{L-1}  = residual states of one batch, at the positions that count
    t_1 .. t_k      = top k of the model's own logits
    s[token, i]     = backward scan of lens(h_l) against t_i

Only states (``L * tokens * d`` numbers) and one layer's scores exist at a time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from satlens.conventions import DEFAULT_K
from satlens.lenses import Lens, LogitLens
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel, States
from satlens.saturation.events import SaturationEvents
from satlens.saturation.ranking import check_k, top_ids
from satlens.saturation.scan import backward_scan, plain_scan


def detect(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    lens: Lens | None = None,
    batch_size: int = 8,
    trajectory: bool = False,
    include_bos: bool = False,
    progress: bool = False,
) -> SaturationEvents:
    """From which layer on each of the top-k tokens is fixed, for every token of the inputs.

    Args:
        model: a HookedTransformer, TransformerBridge, Hugging Face module or `ResidualModel`.
        inputs: a text, a list of texts, token ids (ragged lists, or ``[doc, pos]``), or a padded
            batch with its attention mask. Each text or row is one document.
        k: ranks to follow.
        lens: reads scores off a state; the logit lens by default.
        batch_size: documents (windows of long ones) in one forward pass.
        trajectory: keep the top-k of every layer in ``events.top``.
        include_bos: count the beginning-of-sequence position as well.
        progress: show a progress bar.

    Returns:
        The events, in order of document and position.

    Raises:
        InputError: unusable inputs or k. NumericsError: NaN. ModelError: see `satlens.wrap`.

    Source: Lioubashevski et al. 2025, section 3 (slot and identity both count).

    Example:
        >>> import satlens
        >>> events = satlens.detect(satlens.load_model("tiny"), "Lily had a red ball.", k=3)
        >>> events.layer.shape == (len(events), 3)
        True
    """
    parts = [
        events
        for _, events in stream(
            model, inputs, k=k, lens=lens, batch_size=batch_size, trajectory=trajectory,
            include_bos=include_bos, progress=progress,
        )
    ]  # fmt: skip
    events = SaturationEvents.concat(parts)
    return events[np.lexsort((events.pos, events.doc))]


def stream(
    model: Any,
    inputs: Any,
    *,
    k: int = DEFAULT_K,
    lens: Lens | None = None,
    batch_size: int = 8,
    trajectory: bool = False,
    include_bos: bool = False,
    progress: bool = False,
) -> Iterator[tuple[States, SaturationEvents]]:
    """`detect` batch by batch, with the states: for what does not fit in memory at once.

    ``inputs`` may also be `Batches` made before, to read the same rows with several models.
    """
    model = wrap(model)
    check_k(k, model.n_outputs)
    batches = (
        inputs if isinstance(inputs, Batches) else model.batches(inputs, batch_size, include_bos)
    )
    total = getattr(batches, "n_tokens", None)
    with tqdm(
        total=total, desc=f"detect, {model.name}", unit=" tokens", disable=not progress
    ) as bar:
        for batch in batches:
            if not batch.real.any():
                continue
            states = model.states(batch)
            yield states, scan_states(model, states, k=k, lens=lens, trajectory=trajectory)
            bar.update(len(states.pos))


@torch.no_grad()
def scan_states(
    model: ResidualModel,
    states: States,
    *,
    k: int = DEFAULT_K,
    lens: Lens | None = None,
    trajectory: bool = False,
) -> SaturationEvents:
    """The events of states already at hand (one batch)."""
    lens = lens or LogitLens(model)
    final = top_ids(states.logits, k)
    if trajectory:
        layer, top = plain_scan(states.resid, final, lens.scores)
    else:
        layer, top = backward_scan(states.resid, final, lens.scores), None
    return SaturationEvents(
        layer=layer.cpu(),
        token=final.cpu(),
        doc=states.doc.cpu(),
        pos=states.pos.cpu(),
        n_layers=len(states.resid),
        input=states.input.cpu(),
        top=None if top is None else top.cpu(),
        settings={"model": model.name, "k": k, "lens": lens.name},
    )
