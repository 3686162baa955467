import numpy as np
import pytest
import torch

from satlens.models import wrap
from satlens.patching import CONDITIONS, find_pairs
from satlens.patching.donors import prepare, sources
from satlens.patching.rows import Rows
from satlens.saturation.detect import detect
from satlens.saturation.events import SaturationEvents
from tests.builders import random_hooked, random_ids
from tests.patching.test_pairs import some_events


@pytest.fixture(scope="module")
def pairs():
    return find_pairs(some_events(1, n=300, tops=6), gap=3)


@pytest.fixture(scope="module")
def layer(pairs):
    return pairs.donor_layer[:, None] + np.arange(-1, 3)


def test_each_source_is_what_its_name_says(pairs, layer):
    events = pairs.events
    doc, top, fixed = events.doc, events.token[:, 0], events.layer[:, 0]
    chosen = {name: sources(name, pairs, layer) for name in CONDITIONS}
    recipient = np.broadcast_to(pairs.recipient[:, None], layer.shape)
    assert (chosen["paired"] == pairs.donor[:, None]).all()
    assert (chosen["self"] == recipient).all()
    other = chosen["unsaturated"]
    some = other >= 0
    assert some.mean() > 0.9
    assert (top[other] == top[recipient])[some].all() and (fixed[other] > layer)[some].all()
    assert not ((other == recipient) | (other == pairs.donor[:, None]))[some].any()
    other = chosen["random_donor"]
    assert (doc[other] != doc[recipient]).all() and (top[other] != top[recipient]).all()
    other = chosen["shuffled"][:, 0]
    assert sorted(other) == sorted(pairs.donor) and (other != pairs.donor).all()


def test_sources_are_deterministic_and_follow_the_seed(pairs, layer):
    for name in ("unsaturated", "random_donor", "shuffled"):
        first = sources(name, pairs, layer, seed=0)
        assert (first == sources(name, pairs, layer, seed=0)).all()
        assert (first != sources(name, pairs, layer, seed=1)).any()


def test_where_nobody_qualifies_there_is_no_source():
    events = SaturationEvents([[0], [3]], [[7], [7]], doc=[0, 0], pos=[0, 1], n_layers=5)
    pairs = find_pairs(events, gap=2)
    layer = pairs.donor_layer[:, None] + np.arange(2)
    for name in ("unsaturated", "random_donor", "shuffled"):
        assert (sources(name, pairs, layer) == -1).all(), name


def test_a_random_direction_changes_the_state_by_as_much_as_the_donor_does():
    model = wrap(random_hooked(6, dtype=torch.float64))
    documents = random_ids(50, [30, 20, 25])
    pairs, rows = find_pairs(detect(model, documents, k=2), gap=1), Rows.of(model, documents)
    pair, at = np.arange(len(pairs)), pairs.donor_layer
    paired, added, own = (
        prepare(name, pairs, rows, pair, at, sources(name, pairs, at[:, None])[:, 0], max_tokens=99)
        for name in ("paired", "random_direction", "self")
    )
    assert own.state is None and added.mode == "add" and paired.mode == "replace"
    events = pairs.events
    for i in range(len(pairs)):
        states = {}
        for side in ("donor", "recipient"):
            token = getattr(pairs, side)[i]
            (batch,) = model.batches([documents[events.doc[token]]], 1)
            states[side] = model.states(batch).resid[at[i], events.pos[token]]
        torch.testing.assert_close(paired.state[i], states["donor"])
        size = (states["donor"] - states["recipient"]).norm()
        torch.testing.assert_close(added.state[i].norm().double(), size, rtol=1e-4, atol=1e-6)
    cosines = (
        torch.nn.functional.normalize(added.state) @ torch.nn.functional.normalize(added.state).T
    )
    assert float(cosines.fill_diagonal_(0).abs().max()) < 0.8  # each its own
