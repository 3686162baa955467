"""DeiT-tiny on photographs: files, tensors and the plain method agree; the norm belongs to the readout."""

import numpy as np
import pytest
import torch

import satlens
from satlens.models import class_names, wrap
from satlens.patching import find_pairs, patch
from tests.models.pictures import by_hand

pytestmark = pytest.mark.assets
EACH = 4
FIELDS = ("layer", "token", "doc", "pos")


@pytest.fixture(scope="module")
def model(assets):
    return satlens.load_model(assets / "models" / "deit-tiny")


@pytest.fixture(scope="module")
def photos(assets, tmp_path_factory):
    """A folder with the first photographs of each class."""
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted((assets / "data" / "cifar10").glob("*/*.jpg")):
        kept = folder / path.parent.name
        kept.mkdir(exist_ok=True)
        if len(list(kept.iterdir())) < EACH:
            (kept / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def events(model, photos):
    return satlens.detect(model, photos, k=5)


def test_files_give_the_events_of_the_processors_tensors(model, photos, events):
    paths = sorted(photos.glob("*/*.jpg"))
    assert len(events) == len(paths) == 10 * EACH
    pixels = by_hand(model.processor, paths)
    got = satlens.detect(model, {"pixel_values": pixels}, k=5, batch_size=3, method="plain")
    for name in FIELDS:
        assert np.array_equal(getattr(got, name), getattr(events, name)), name


def test_the_bare_module_gives_the_events_of_the_bridge(model, photos, events, assets):
    from transformers import AutoModelForImageClassification

    hf = AutoModelForImageClassification.from_pretrained(assets / "models" / "deit-tiny").eval()
    hf.processor = model.processor
    got = satlens.detect(hf, photos, k=5)
    for name in FIELDS:
        assert np.array_equal(getattr(got, name), getattr(events, name)), name
    assert class_names(hf, [0]) == class_names(model, [0]) == ["tench, Tinca tinca"]


def test_the_last_state_in_every_place_is_the_lens(model, photos):
    """logits(model with h_{L-1} := h_l) == readout(h_l), which needs no knowledge of the readout."""
    wrapped = wrap(model)
    batch = next(iter(wrapped.batches(photos, 8)))
    states = wrapped.states(batch)
    last = wrapped.n_layers - 1
    for layer in range(wrapped.n_layers):

        def put(resid, hook, state=states.resid[layer]):
            resid = resid.clone()
            resid[:, 0] = state
            return resid

        with torch.no_grad(), wrapped.hooks([(last, put)]):
            logits = wrapped.forward(batch)[:, 0]
        want = wrapped.readout(states.resid[layer])
        assert (logits - want).abs().max() <= 2e-5 * want.std()


def test_ranks_settle_later_one_after_the_other(model, photos, events):
    """The mean layer rises with rank, and the untrained model settles its rank 1 later."""
    mean = events.layer.mean(0)
    assert (np.diff(mean) > 0).all() and mean[0] < 10
    fresh = satlens.detect(satlens.untrained(model), photos, k=5)
    assert fresh.layer[:, 0].mean() > mean[0]


def test_a_class_tokens_state_in_another_photograph(model, photos, events):
    pairs = find_pairs(events, gap=1)
    result = patch(model, photos, pairs, k=2, offsets=[0], conditions=["paired", "self"])
    assert (result.estimate("advance", "self").value == 0).all()
    assert len(result.pairs) >= 1
