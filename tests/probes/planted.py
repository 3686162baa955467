"""States with stages that are known because they were put there."""

import numpy as np

from satlens.probes.stages import stage_labels
from satlens.probes.states import StageStates
from satlens.saturation.events import SaturationEvents


def planted_events(rng, documents=30, tokens=12, k=3, n_layers=9, vocab=20):
    """Random layers in order, with input ids from a small vocabulary."""
    n = documents * tokens
    layer = np.sort(rng.integers(0, n_layers, (n, k)), axis=1)
    token = np.stack([rng.permutation(vocab)[:k] for _ in range(n)])
    return SaturationEvents(
        layer=layer, token=token, doc=np.repeat(np.arange(documents), tokens), pos=np.arange(n),
        n_layers=n_layers, input=rng.integers(0, vocab, n),
    )  # fmt: skip


def stage_stream(rng, events, d=24, strength=3.0):
    """States of noise and ``strength * direction[stage]``; gives states and unit directions."""
    label = stage_labels(events).label  # [token, layer]
    directions = np.linalg.qr(rng.standard_normal((d, d)))[0][: events.k + 2].astype(np.float32)
    noise = rng.standard_normal((events.n_layers, len(events), d)).astype(np.float32)
    return noise + strength * directions[label.T], directions


def noise_stream(rng, events, d=24):
    """States that hold nothing."""
    return rng.standard_normal((events.n_layers, len(events), d)).astype(np.float32)


def few(data: StageStates, documents) -> StageStates:
    """The states of some documents."""
    return data.take(np.isin(data.doc, documents))
