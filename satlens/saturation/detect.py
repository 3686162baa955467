"""`detect`: run a model over inputs, and find the layer from which each rank is fixed.

    h_0 .. h_{L-1}  = residual states of one batch, at the positions that count
    t_1 .. t_k      = top k of the model's own output: of W x + b at h_{L-1}, or of its logits
    s[token, i]     = scan of lens(h_l) against t_i

Only states (``L * tokens * d`` numbers) and one layer's scores exist at a time. Where the model's readout
ends in a linear map its logits are not needed, and the forward pass ends behind the last block.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from satlens.conventions import DEFAULT_K
from satlens.lenses import Lens, LogitLens, check_model
from satlens.models import Batches, wrap
from satlens.models.protocol import ResidualModel, States
from satlens.saturation.certified import tokens_at_once
from satlens.saturation.events import SaturationEvents
from satlens.saturation.method import Scan
from satlens.saturation.ranking import check_k, top_ids
from satlens.saturation.rows import BLOCK, LinearRows, Rows


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
    method: str = "auto",
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
        method: "plain", "backward" or "certified" (see `satlens.saturation.method`), or "auto" for the
            fastest here. The events are the same.

    Returns:
        The events, in order of document and position.

    Raises:
        InputError: unusable inputs or k, or a lens of another model. NumericsError: NaN. ModelError: see
            `satlens.wrap`.

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
            include_bos=include_bos, progress=progress, method=method, logits=False,
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
    method: str = "auto",
    logits: bool = True,
) -> Iterator[tuple[States, SaturationEvents]]:
    """`detect` batch by batch, with the states: for what does not fit in memory at once.

    ``inputs`` may also be `Batches` made before, to read the same rows with several models. Without
    ``logits`` the forward pass ends behind the last block where it can, and ``states.logits`` has no rows.
    """
    model = wrap(model)
    check_k(k, model.n_outputs)
    finder = Detector(model, lens, method)
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
            states = model.states(batch, logits=logits or not finder.final.linear)
            yield states, finder.events(states, k, trajectory)
            bar.update(len(states.pos))


class Detector:
    """The events of states already at hand: one lens, one method, made once a job.

    The final ranking is always the model's own output's, whatever the lens. Where that ends in a linear map
    (`satlens.models.readout.Head`) it is decided by exact sums; else by the logits as they are.
    """

    def __init__(
        self, model: ResidualModel, lens: Lens | None = None, method: str = "auto"
    ) -> None:
        own = LogitLens(model)
        if lens is not None:
            check_model(lens, model)
        self.model, self.lens = model, lens or own
        self.scan = Scan(self.lens, method)
        self.final = (
            self.scan if lens is None else Scan(own, "plain" if method == "plain" else "auto")
        )

    @torch.no_grad()
    def events(
        self, states: States, k: int = DEFAULT_K, trajectory: bool = False
    ) -> SaturationEvents:
        """The events of one batch."""
        layer, final, top = self._found(states.resid, states.logits, k, trajectory)
        return SaturationEvents(
            layer=layer.cpu(),
            token=final.cpu(),
            doc=states.doc.cpu(),
            pos=states.pos.cpu(),
            n_layers=len(states.resid),
            input=states.input.cpu(),
            top=None if top is None else top.cpu(),
            settings={"model": self.model.name, "k": k, "lens": self.lens.name},
        )

    @torch.no_grad()
    def layers(
        self, resid: Float[Tensor, "layer token d"], logits: Float[Tensor, "token output"], k: int
    ) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token k"]]:
        """The saturation layers, and the final ranking; ``logits`` may have no rows if ``final.linear``."""
        layer, final, _ = self._found(resid, logits, k, trajectory=False)
        return layer, final

    def _found(
        self, resid: Tensor, logits: Tensor, k: int, trajectory: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Layers, final ranking and, if asked for, every layer's; some tokens at a time, as the features are
        as large as the states.
        """
        layers, finals, tops = [], [], []
        blocks = -(-tokens_at_once(resid.shape, resid.device) // BLOCK)
        size = max(blocks, 1) * BLOCK  # whole ones, in which `ScoredRows` scores
        for first in range(0, max(resid.shape[1], 1), size):
            part = slice(first, first + size)
            rows = self.scan.rows(resid[:, part])
            final, runners = self._final(resid[:, part], logits[part], rows, k)
            if trajectory:
                layer, top = self.scan.trajectory(rows, final)
                tops.append(top)
            else:
                layer = self.scan.layers(rows, final, runners)
            layers.append(layer)
            finals.append(final)
        return torch.cat(layers), torch.cat(finals), torch.cat(tops) if tops else None

    def _final(
        self, resid: Tensor, logits: Tensor, rows: Rows, k: int
    ) -> tuple[Int[Tensor, "token k"], Int[Tensor, "token c"] | None]:
        if not self.final.linear:
            return top_ids(logits, k), None
        own = rows if self.final is self.scan else self.final.rows(resid[-1:])
        return self.final.ranking(cast(LinearRows, own), k)
