import numpy as np
import pytest
import torch

import satlens
from satlens.errors import InputError
from satlens.nulls import (
    NullDraws,
    NullSampler,
    draw_nulls,
    permute_ranks,
    permuted_draws,
    untrained_draws,
)
from satlens.nulls.block import KINDS
from satlens.saturation.method import Scan
from tests.builders import random_hooked
from tests.order.planted import Readout, detect_states, make_events, noise_paths

K, V, D, L = 3, 50, 12, 6


@pytest.fixture(scope="module")
def setting():
    gen = torch.Generator().manual_seed(0)
    resid, doc = noise_paths(gen, documents=6, tokens=15, n_layers=L, d=D)
    scores = Readout(torch.randn(V, D, generator=gen))
    return resid, scores, detect_states(resid, scores, doc, K)


def sampled(resid, scores, events, batch=90, **kwargs):
    sampler = NullSampler(scores, **{"draws": 3, **kwargs})
    for start in range(0, len(events), batch):
        rows = slice(start, start + batch)
        sampler.update(resid[:, rows], events[rows])
    return sampler.finish()


def test_permuted_ranks_keep_each_tokens_layers():
    events = make_events(np.random.default_rng(0).integers(0, 9, (200, 4)), 9)
    shuffled = permute_ranks(events, seed=1)
    np.testing.assert_array_equal(np.sort(shuffled.layer, axis=1), np.sort(events.layer, axis=1))
    assert (shuffled.layer != events.layer).any() and (shuffled.token == events.token).all()
    assert not np.shares_memory(shuffled.layer, events.layer)
    many = permuted_draws(events, draws=300).layer.mean(0)
    np.testing.assert_allclose(many, np.repeat(events.layer.mean(1)[:, None], 4, 1), atol=1)


def test_every_kind_gives_draws_of_the_same_tokens(setting):
    nulls = sampled(*setting)
    assert tuple(nulls) == KINDS
    for kind, null in nulls.items():
        assert null.layer.shape == (3, 90, K) and null.layer.dtype == np.int16
        assert (null.events.layer == setting[2].layer).all()
        assert not (null.layer[0] == null.layer[1]).all()
        draw = null.draw(1)
        assert (draw.layer == null.layer[1]).all() and (draw.token == setting[2].token).all()
        assert (draw.settings["null"], draw.settings["draw"]) == (kind, 1)


def test_layers_are_those_of_a_plain_scan_towards_the_real_ranking(setting, monkeypatch):
    resid, scores, events = setting
    seen = []

    def checked(scan, rows, final, runners):
        layer, top = scan.trajectory(rows, final)
        assert torch.equal(top[:, -1], torch.tensor(events.token).long())
        seen.append(layer.numpy())
        return layer

    expected = sampled(*setting)
    monkeypatch.setattr(Scan, "layers", checked)
    found = sampled(*setting)
    for i, kind in enumerate(KINDS):
        assert (found[kind].layer == expected[kind].layer).all()
        assert (np.stack(seen[3 * i : 3 * i + 3]) == found[kind].layer).all()


def test_repeats_from_its_seed_whatever_the_batches(setting):
    first, again = sampled(*setting), sampled(*setting, batch=7)
    other = sampled(*setting, seed=1)
    for kind in KINDS:
        assert (first[kind].layer == again[kind].layer).all()
        assert (first[kind].layer != other[kind].layer).any()


def test_kinds_are_drawn_independently_of_each_other(setting):
    alone = sampled(*setting, kinds=["line"])
    assert (alone["line"].layer == sampled(*setting)["line"].layer).all()


def test_blocks_keep_few_states_and_every_token(setting):
    resid, scores, events = setting
    sampler = NullSampler(scores, kinds=["exchanged", "walk"], draws=2, block_bytes=20 * L * D * 4)
    most = 0
    for start in range(0, 90, 5):
        sampler.update(resid[:, start : start + 5], events[start : start + 5])
        most = max(most, sampler.queue.tokens)
    nulls = sampler.finish()
    assert most <= 2 * 25  # two blocks of 20 tokens, each in need of two documents
    assert (nulls["walk"].events.pos == events.pos).all()
    assert (nulls["walk"].events.layer == events.layer).all()


def test_tokens_come_back_in_order_of_document_and_position(setting):
    resid, scores, events = setting
    shuffle = np.random.default_rng(0).permutation(len(events))
    null = sampled(resid[:, shuffle], scores, events[shuffle])["rotated"]
    assert (np.diff(null.events.doc) >= 0).all() and (null.events.layer == events.layer).all()


def test_the_real_states_are_read_and_left_alone(setting):
    resid, scores, events = setting
    before = resid.clone()
    mine = resid.clone()
    sampler = NullSampler(scores, draws=2)
    sampler.update(mine, events)
    mine.zero_()  # a host may reuse its buffers
    nulls = sampler.finish()
    assert torch.equal(resid, before)
    assert (nulls["rotated"].layer == sampled(*setting, draws=2)["rotated"].layer).all()


def test_bfloat16_states_are_read_in_their_own_precision(setting):
    resid, scores, events = setting
    seen = set()

    def reading(states, layer):
        seen.add(states.dtype)
        return scores(states.float(), layer)

    sampled(resid.bfloat16(), reading, events)
    assert seen == {torch.bfloat16}


def test_no_donor_is_an_error_that_says_so(setting):
    resid, scores, events = setting
    with pytest.raises(
        InputError, match="15 of 15 tokens, in 1 document.s., have no such donor. Give"
    ):
        sampled(resid[:, :15], scores, events[:15])
    assert sampled(resid[:, :15], scores, events[:15], kinds=["rotated"])["rotated"].layer.size


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"kinds": ["turned"]}, "must be some of rotated, exchanged, walk, line; got turned"),
        ({"kinds": []}, "got none"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
    ],
)
def test_unusable_settings_are_refused(kwargs, words):
    with pytest.raises(InputError, match=words):
        NullSampler(Readout(torch.eye(3)), **kwargs)


def test_nothing_to_draw_for():
    with pytest.raises(InputError, match="the inputs gave no real position"):
        NullSampler(Readout(torch.eye(3))).finish()


def test_draws_of_other_tokens_are_refused():
    events = make_events([[0, 1], [1, 2]], 4)
    with pytest.raises(InputError, match=r"of the tokens in events, \(2, 2\); got \(1, 3, 2\)"):
        NullDraws("walk", np.zeros((1, 3, 2), int), events)
    with pytest.raises(InputError, match="must be of the same tokens as the trained ones"):
        untrained_draws(events, [events[:1]])


@pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")
def test_draw_nulls_runs_a_model_once_over_its_inputs():
    host = random_hooked(n_layers=5, d=16, vocab=40, heads=2)
    tokens = torch.randint(0, 40, (6, 12), generator=torch.Generator().manual_seed(0))
    nulls = draw_nulls(host, tokens, draws=2, k=3, batch_size=4)
    events = satlens.detect(host, tokens, k=3, batch_size=4)
    for null in nulls.values():
        assert (null.events.layer == events.layer).all() and (
            null.events.token == events.token
        ).all()
        assert null.layer.shape == (2, len(events), 3)


@pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")
def test_a_limit_takes_the_first_documents_and_not_the_longest():
    host = random_hooked(n_layers=3, d=16, vocab=40, heads=2)
    documents = [list(range(1, 1 + n)) for n in (5, 6, 20, 7)]
    few = draw_nulls(host, documents, draws=1, k=3, max_tokens=10)
    assert sorted(set(few["walk"].events.doc.tolist())) == [0, 1]
    assert len(few["walk"].events) == 11
