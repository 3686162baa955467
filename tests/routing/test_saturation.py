"""Who skips against who is fixed: planted answers, a true null, confounders, and one pass beside loops."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import satlens
from satlens.errors import InputError, ModelError
from satlens.routing import TokenGates, skip_and_saturation
from satlens.routing.saturation import Tokens, collect, report
from tests.builders import random_hf, random_ids

LAYERS, DOCS, EACH = 9, 40, 25


def planted(seed=0, own=0.0, frequency=0.0, null=0.0):
    """Tokens whose skipping follows their layer (``own``) or what both share with the frequency."""
    rng = np.random.default_rng(seed)
    n = DOCS * EACH
    shared, noise = rng.standard_normal(n), rng.standard_normal((3, n))

    def layers(of):
        return np.clip(np.round(4 + 2 * (frequency * shared + of)), 0, LAYERS - 1).astype(int)

    layer = layers(noise[0])
    told = frequency * shared + own * noise[0] + noise[1]
    skip = 1 / (1 + np.exp(told))[:, None] * np.ones(LAYERS - 1)
    path = layers(null * noise[0] + (1 - null) * rng.standard_normal((4, n)))
    confounders = np.stack([shared, noise[2], np.tile(np.arange(EACH), DOCS)], axis=1)
    return Tokens(
        skip, layer, {"rotated": path}, confounders, np.repeat(np.arange(DOCS), EACH), LAYERS
    )


def test_a_router_that_follows_saturation():
    found = report(planted(own=1.0), draws=200)
    assert found.partial.low > 0.5 and found.correlation.low > 0.5
    assert abs(found.null["rotated"]) < 0.1 and found.excess["rotated"].low > 0.4
    assert [one["verdict"] for one in found.verdicts] == ["holds", "holds"]
    assert found.difference.low > 0


def test_what_both_share_with_the_frequency_is_no_merit():
    found = report(planted(frequency=2.0), draws=200)
    assert found.correlation.low > 0.3
    assert abs(found.partial.value) < 0.1 and found.verdicts[0]["verdict"] != "holds"


def test_what_any_path_shows_is_not_the_models_own():
    found = report(planted(own=1.0, null=1.0), draws=200)
    assert (
        found.verdicts[0]["verdict"] == "holds" and found.verdicts[1]["verdict"] == "does not hold"
    )


def test_the_interval_holds_a_true_null():
    inside = [report(planted(seed), draws=200).partial for seed in range(120)]
    share = np.mean([one.low <= 0 <= one.high for one in inside])
    assert 0.87 <= share <= 0.99


def test_the_plain_correlation_is_spearmans():
    tokens = planted(own=0.5, seed=3)
    left = LAYERS - 1 - tokens.layer
    wanted = spearmanr(tokens.skip.mean(1), left).statistic
    assert report(tokens, draws=20).correlation.value == pytest.approx(wanted)


def test_block_by_block_against_a_loop():
    tokens = planted(own=1.0)
    found, gaps = report(tokens, draws=20), []
    for row in found.by_block.itertuples():
        fixed, skips = tokens.layer < row.block, tokens.skip[:, row.block - 1] > 0.5
        assert row.fixed == pytest.approx(fixed.mean()) and row.skip == pytest.approx(skips.mean())
        if fixed.any() and not fixed.all():
            gaps.append(skips[fixed].mean() - skips[~fixed].mean())
            assert row.skip_fixed - row.skip_other == pytest.approx(gaps[-1])
    assert found.difference.value == pytest.approx(np.mean(gaps))


def test_gates_that_say_the_same_of_every_token():
    tokens = planted()
    tokens.skip[:] = 0.2
    found = report(tokens, draws=20)
    assert (
        np.isnan(found.correlation.value) and found.verdicts[0]["verdict"] == "cannot be told here"
    )
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.fixture(scope="module")
def gates():
    host = random_hf("llama", vocab=50, layers=4).eval()
    gates = TokenGates(host, bias=0.0)
    for router in gates.routers:
        torch.nn.init.normal_(router.down.weight, std=2.0)
    return gates


IDS = random_ids(50, [9, 14, 5, 11])


@torch.no_grad()
def test_one_pass_beside_a_loop(gates):
    (found,) = collect([gates], IDS, draws=1, batch_size=2)
    events = satlens.detect(gates.model, IDS, k=1)
    last = np.concatenate([np.flatnonzero(events.doc == doc)[-1:] for doc in range(4)])
    kept = np.setdiff1d(np.arange(len(events)), last)
    assert np.array_equal(found.layer, events.layer[kept, 0]) and np.array_equal(
        found.doc, events.doc[kept]
    )
    row = 0
    for ids in IDS:
        host, tokens = gates.model.host, torch.tensor([ids])
        with gates.attached("hard") as run:
            host(tokens)
        skip = run.skip[:, 0, :-1].T
        nats = torch.nn.functional.cross_entropy(
            host(tokens).logits[0, :-1], tokens[0, 1:], reduction="none"
        )
        part = slice(row, row + len(ids) - 1)
        assert np.allclose(found.skip[part], skip, atol=1e-6)
        assert np.allclose(found.confounders[part, 1], nats, atol=1e-4)
        assert found.confounders[part, 2].tolist() == list(range(len(ids) - 1))
        row += len(ids) - 1
    read = np.concatenate([ids[:-1] for ids in IDS])
    counts = [np.log((read == one).sum()) for one in read]
    assert np.allclose(found.confounders[:, 0], counts)


def test_a_host_of_transformer_lens(tiny_host):
    stories = ["Lily had a red ball. She was happy.", "The dog ran to the park. It was fun."]
    found = skip_and_saturation(TokenGates(tiny_host), stories, draws=1)
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(said["by_block"]) == 15 and set(said["null"]) == {"rotated", "exchanged"}


def test_what_is_refused(gates):
    with pytest.raises(InputError, match="Fewer than two tokens have a next one"):
        skip_and_saturation(gates, [[3, 4]], kinds=("rotated",))
    gates.model.host.train()
    with pytest.raises(ModelError, match="training mode"):
        skip_and_saturation(gates, IDS)
    gates.model.host.eval()
