"""Events and states whose order is known because it was put there."""

import numpy as np
import torch

from satlens.saturation.events import SaturationEvents
from satlens.saturation.method import Scan
from satlens.saturation.ranking import top_ids


def make_events(layer, n_layers, doc=None, **columns) -> SaturationEvents:
    """Events from layers alone: ids and positions are made up, one document a token by default."""
    layer = np.asarray(layer)
    n, k = layer.shape
    ids = np.arange(n * k).reshape(n, k)
    doc = np.arange(n) if doc is None else doc
    return SaturationEvents(layer, ids, doc=doc, pos=np.arange(n), n_layers=n_layers, **columns)


def layers_without_order(rng, documents, tokens, k, n_layers, centre=0.6):
    """Layers that know nothing of the rank: iid in a token, around the document's own mean."""
    doc = np.repeat(np.arange(documents), tokens)
    shared = rng.normal(centre, 0.15, documents)[doc][:, None]
    share = shared + rng.normal(0, 0.25, (len(doc), k))
    return np.clip((share * n_layers).astype(int), 0, n_layers - 1), doc


class Readout:
    """Layer-normed states through one unembedding: ``scores(resid, layer)``."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def __call__(self, resid: torch.Tensor, layer: int) -> torch.Tensor:
        return torch.nn.functional.layer_norm(resid, resid.shape[-1:]) @ self.weight.T


def detect_states(resid, scores, doc, k) -> SaturationEvents:
    """The events of bare states."""
    final = top_ids(scores(resid[-1], len(resid) - 1), k)
    scan = Scan(scores)
    layer = scan.layers(scan.rows(resid), final)
    pos = np.arange(len(doc))
    return SaturationEvents(layer, final, doc=doc, pos=pos, n_layers=len(resid))


def noise_paths(generator, documents, tokens, n_layers, d):
    """Random walks into random final states; tokens of a document share a part of both."""

    def shared(*shape):
        own = torch.randn(*shape, documents * tokens, d, generator=generator)
        document = torch.randn(*shape, documents, d, generator=generator)
        return own + 0.7 * document.repeat_interleave(tokens, dim=-2)

    end = shared()
    size = torch.linspace(0.9, 0.25, n_layers - 1)[:, None, None]
    steps = shared(n_layers - 1) * size
    resid = torch.cat([end - steps.flip(0).cumsum(0).flip(0), end[None]])
    return resid, np.repeat(np.arange(documents), tokens)


def stagewise_paths(generator, documents, tokens, n_layers, d, k):
    """One rank after the other: at stage i the first i ranks hold their final place, the rest is noise.

    States are scores (the readout is the identity). The final gaps are equal, so that converging
    alone would favour no rank much.
    """
    n = documents * tokens
    order = torch.rand(n, d, generator=generator).argsort(1)
    ladder = torch.linspace(2.0, -2.0, d)
    end = torch.zeros(n, d).scatter(1, order, ladder.expand(n, -1))
    draw = torch.rand(n, n_layers - 2, generator=generator)
    start = draw.argsort(1)[:, :k].sort(1).values + 1  # rank i is fixed from this layer on
    states = []
    for layer in range(n_layers - 1):
        fixed = (start <= layer).sum(1)
        noise = torch.rand(n, d, generator=generator).argsort(1)
        shuffled = order.clone()
        for i in range(k + 1):
            rows = (fixed == i).nonzero().flatten()
            if len(rows):
                shuffled[rows, i:] = order[rows, i:].gather(1, noise[rows][:, : d - i].argsort(1))
        states.append(torch.zeros(n, d).scatter(1, shuffled, ladder.expand(n, -1)))
    resid = torch.stack([*states, end])
    return resid, np.repeat(np.arange(documents), tokens)
