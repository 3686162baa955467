"""The same weights as HookedTransformer, folded and centred, as bridge and bare: the same events."""

import copy
import warnings

import numpy as np
import pytest
import torch

import satlens
from satlens.models.hosts.convert import to_hooked_transformer
from tests.builders import HAS_HOOKED, NO_HOOKED, random_hf, random_ids, to_bridge

FAMILIES = ["gpt2", "llama", "gpt_neox", "gpt_neo"]


def assert_same(a, b):
    for name in ("layer", "token", "doc", "pos"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def folded(hooked):
    """The same HookedTransformer with its norms folded in and everything centred."""
    fresh = copy.deepcopy(hooked)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        fresh.load_and_process_state_dict(
            copy.deepcopy(hooked.state_dict()), fold_ln=True, center_unembed=True,
            center_writing_weights=hooked.cfg.normalization_type == "LN", fold_value_biases=True,
        )  # fmt: skip
    return fresh.eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_hosts_of_the_same_weights(family, seed):
    hf = random_hf(family, seed=seed, layers=4).eval()
    documents = random_ids(50, [5, 12, 3, 30], seed)
    bare = satlens.detect(hf, documents)
    assert 0.1 < bare.censored.mean() < 0.9  # something is fixed early, something late
    assert_same(satlens.detect(to_bridge(hf), documents), bare)
    if HAS_HOOKED:
        hooked = to_hooked_transformer(copy.deepcopy(hf), "random")
        assert_same(satlens.detect(hooked, documents), bare)
        processed = folded(hooked)
        ids = torch.tensor([documents[1]])
        assert not torch.allclose(processed(ids), hooked(ids), atol=1e-4)  # it is another model
        assert_same(satlens.detect(processed, documents), bare)


@pytest.mark.assets
def test_hosts_of_real_weights(assets):
    folder = assets / "models" / "stories260k"
    stories = (assets / "data" / "tinystories_2mb.txt").read_text()[:40_000].split("<|endoftext|>")
    model = satlens.load_model(folder)
    events = satlens.detect(model, stories[:20])
    assert_same(satlens.detect(satlens.load_model(folder, bridge=True), stories[:20]), events)
    if not HAS_HOOKED:
        pytest.skip(NO_HOOKED)
    assert_same(satlens.detect(folded(model), stories[:20]), events)
