from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from satlens import detect
from satlens.errors import InputError
from satlens.models import wrap
from satlens.models.inputs.text import token_batches
from satlens.patching import CONDITIONS, Pairs, find_pairs, patch
from satlens.patching.jobs import Jobs, run_jobs
from satlens.patching.rows import Rows
from satlens.saturation.events import SaturationEvents
from tests.builders import random_bridge, random_hf, random_hooked, random_ids, random_other
from tests.contracts.residual_model import hooks_left
from tests.patching.reference import row_of, run_by_hand, saturation_by_hand

CONTEXT = 12


@cache
def deep(seed=0):
    return wrap(random_hooked(n_layers=6, n_ctx=CONTEXT, seed=seed, dtype=torch.float64))


def with_bos(model):
    batches = partial(token_batches, tokenizer=SimpleNamespace(bos_token_id=0), context=CONTEXT)
    return replace(model, batches=partial(batches, vocabulary=50))


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2), text=st.integers(0, 50), k=st.integers(2, 5), bos=st.booleans(),
    across=st.sampled_from([None, True]), batch_tokens=st.sampled_from([1, 40, 500]),
)  # fmt: skip
def test_patches_equal_patching_by_hand(seed, text, k, bos, across, batch_tokens):
    """Windows, BOS, many jobs in a pass: against one plain run at a time, on whole rows."""
    model, documents = deep(seed), random_ids(50, [31, 12, 25], text)
    if bos:
        model, documents = with_bos(model), [[0, *ids] for ids in documents]
    pairs = find_pairs(detect(model, documents, k=k), gap=1, limit=4, across=across, seed=text)
    result = patch(
        model, documents, pairs, k=k, conditions=["paired", "unsaturated", "random_donor"],
        batch_tokens=batch_tokens, seed=text,
    )  # fmt: skip
    host, events, start = model.host, pairs.events, 0 if bos else None
    for run in np.random.default_rng(text).permutation(len(result))[:8]:
        source, recipient = result.source[run], pairs.recipient[result.pair[run]]
        layer = int(result.layer[run])
        rows = [row_of(documents[events.doc[t]], int(events.pos[t]), CONTEXT, start)
                for t in (source, recipient)]  # fmt: skip
        states, _ = run_by_hand(host, *rows[0])
        clean, _ = run_by_hand(host, *rows[1])
        patched, logits = run_by_hand(host, *rows[1], put=(layer, states[layer]))
        assert torch.equal(patched[:layer], clean[:layer])
        layers, tokens = saturation_by_hand(host, patched, logits, k)
        assert result.new.layer[run].tolist() == layers
        assert result.new.token[run].tolist() == tokens
    clean_events = events[pairs.recipient]
    assert (result.clean.layer == clean_events.layer).all()
    assert (result.clean.token == clean_events.token).all()


HOSTS = {
    "hooked": lambda: random_hooked(6),
    "bridge": lambda: random_bridge(6),
    "hf": lambda: random_hf(layers=6),
    "bert": lambda: random_other("bert"),
}


@pytest.fixture(scope="module", params=HOSTS)
def patched(request):
    host = HOSTS[request.param]()
    before = hooks_left(host)
    documents = random_ids(50, [30, 20, 25, 28])
    result = patch(host, documents, k=3, gap=1, limit=30, batch_tokens=200)
    return host, documents, result, before


def test_every_condition_runs_on_every_kind_of_host(patched):
    host, _, result, before = patched
    assert result.conditions == CONDITIONS and set(result.condition) == set(CONDITIONS)
    assert hooks_left(host) == before
    assert "paired" in repr(result)
    for name in CONDITIONS:
        chosen = result.condition == name
        expected = result.pairs.donor_layer[result.pair] + result.offset
        assert (result.layer[chosen] == expected[chosen]).all()
        kept = result.estimate("kept", name).value
        assert ((kept >= 0) & (kept <= 1)).all()
    frame = result.to_frame()
    assert len(frame) == len(result) * 3 and frame["rank"].tolist()[:3] == [1, 2, 3]
    advance = frame.clean_layer - frame.layer
    one = frame[(frame.condition == "paired") & (frame["rank"] == 1) & (frame.offset == 0)]
    assert advance[one.index].mean() == result.estimate("advance", "paired").value[
        result.offsets.index(0), 0
    ]  # fmt: skip


def test_a_self_patch_changes_nothing(patched):
    _, _, result, _ = patched
    chosen = result.condition == "self"
    assert chosen.sum() > 20
    assert (result.new.layer[chosen] == result.clean.layer[result.pair[chosen]]).all()
    assert (result.new.token[chosen] == result.clean.token[result.pair[chosen]]).all()
    assert (result.estimate("advance", "self").value == 0).all()
    # The positive control: other states do change something.
    paired = result.condition == "random_donor"
    assert (result.new.layer[paired] != result.clean.layer[result.pair[paired]]).any()


def test_a_self_patch_is_the_clean_run_bit_for_bit(patched):
    host, documents, result, _ = patched
    model = wrap(host)
    rows = Rows.of(model, documents)
    events, recipient = result.pairs.events, result.pairs.recipient
    place = rows.find(events.doc[recipient], events.pos[recipient])
    for layer in range(model.n_layers - 1):
        own = Jobs(*place, np.full(len(recipient), layer))
        runs = run_jobs(rows, own, max_tokens=200), run_jobs(rows, Jobs(*place), max_tokens=200)
        for ran, clean in zip(*runs, strict=True):
            assert (ran.job == clean.job).all()
            assert torch.equal(ran.resid, clean.resid) and torch.equal(ran.logits, clean.logits)


def test_layers_before_the_patch_are_the_clean_ones_bit_for_bit():
    model, documents = wrap(random_hooked(6)), random_ids(50, [30, 20])
    rows, generator = Rows.of(model, documents), torch.Generator().manual_seed(0)
    row, column = np.array([0, 0, 1, 1]), np.array([29, 4, 19, 11])
    layer = np.array([1, 3, 2, 4])
    state = torch.randn(4, 32, generator=generator)
    jobs = Jobs(row, column, layer, state)
    (ran,) = run_jobs(rows, jobs, max_tokens=1000)
    (clean,) = run_jobs(rows, Jobs(row, column), max_tokens=1000)
    for i, job in enumerate(ran.job):
        at = layer[job]
        assert torch.equal(ran.resid[:at, i], clean.resid[:at, i])
        assert torch.equal(ran.resid[at, i], state[job])
        assert not torch.equal(ran.resid[at + 1 :, i], clean.resid[at + 1 :, i])


def test_results_do_not_depend_on_batches_or_on_other_conditions():
    model, documents = deep(), random_ids(50, [31, 12, 25])
    options = dict(k=3, gap=1, limit=10)
    whole = patch(model, documents, **options)
    part = patch(model, model.batches(documents, 1), conditions=["shuffled", "unsaturated"],
                 batch_tokens=20, **options)  # fmt: skip
    for name in ("shuffled", "unsaturated"):
        for a, b in ((whole.new.layer, part.new.layer), (whole.new.token, part.new.token)):
            assert (a[whole.condition == name] == b[part.condition == name]).all()
    assert whole.settings["pairs"]["gap"] == 1 and whole.settings["seed"] == 0


def test_offsets_outside_the_model_are_counted_or_refused():
    model, documents = deep(), random_ids(50, [31, 12, 25])
    pairs = find_pairs(detect(model, documents, k=2), gap=1, limit=12)
    result = patch(model, documents, pairs, k=2, offsets=[1, -1], conditions=["paired"])
    assert result.offsets == (-1, 1)
    outside = {-1: int((pairs.donor_layer < 1).sum()), 1: int((pairs.donor_layer > 3).sum())}
    assert result.left_out == outside and max(outside.values()) > 0
    assert result.count("paired") == [len(pairs) - outside[-1], len(pairs) - outside[1]]
    assert np.isnan(result.values("advance", "paired")[pairs.donor_layer < 1, 0]).all()
    first, last = pairs.donor_layer.min(), pairs.donor_layer.max()
    with pytest.raises(InputError) as error:
        patch(model, documents, pairs, k=2, offsets=[-9, 0, 7])
    assert str(error.value) == (
        f"At offset -9, 7 no pair can be patched: the donors saturate at layers {first} to {last}, and "
        f"the layers to patch are 0 to 4. Offsets from {-last} to {4 - first} fall inside."
    )


def test_default_offsets_stop_at_the_gap():
    model, documents = deep(), random_ids(50, [31, 12, 25])
    result = patch(model, documents, k=2, gap=1, limit=12, conditions=["paired"])
    assert result.offsets[-1] == 1 and result.offsets[0] >= -4 and min(result.count("paired")) > 0


def test_bad_input_is_refused():
    model, documents = deep(), random_ids(50, [31, 12, 25])
    with pytest.raises(InputError, match="conditions must be some of paired, self, .*; got noise"):
        patch(model, documents, conditions=["paired", "noise"])
    with pytest.raises(InputError, match="k must be at least 2; got 1"):
        patch(model, documents, k=1)
    with pytest.raises(
        InputError, match="batch_tokens must be a whole number of at least 1, got 0"
    ):
        patch(model, documents, batch_tokens=0)
    with pytest.raises(InputError, match="offsets must be whole numbers, each once; got .0, 0"):
        patch(model, documents, gap=1, offsets=[0, 0])
    with pytest.raises(InputError, match="No pair of tokens with one final top-1"):
        patch(model, documents[1:2], gap=5)
    result = patch(model, documents, k=2, gap=1, limit=5, offsets=[0], conditions=["paired"])
    with pytest.raises(
        InputError, match="No condition 'self' in this result; it holds clean, paired"
    ):
        result.estimate("kept", "self")
    with pytest.raises(InputError, match="Unknown outcome 'won'; known are published, kept"):
        result.values("won", "paired")
    with pytest.raises(InputError, match=r"Offset 1 was not tried; tried were \[0\]"):
        result.strictest(("paired",), offset=1)


def test_events_of_something_else_are_refused():
    model, documents = deep(), random_ids(50, [31, 12, 25])
    events = detect(model, documents, k=2)
    deeper = SaturationEvents(events.layer, events.token, events.doc, events.pos, n_layers=7)
    with pytest.raises(InputError, match="events are of a model of 7 layers; .* has 6"):
        patch(model, documents, events=deeper, gap=1)
    pairs = find_pairs(events, gap=1, limit=20)
    with pytest.raises(InputError, match="events are not those of .* on these inputs"):
        patch(model, random_ids(50, [31, 12, 25], seed=9), pairs, k=2)
    with pytest.raises(InputError, match="tokens are not in the inputs, the first at position"):
        patch(model, documents[1:], pairs, k=2)
    hand_made = Pairs(events, pairs.donor, pairs.recipient)
    assert len(patch(model, documents, hand_made, k=2, offsets=[0], conditions="paired")) > 0
