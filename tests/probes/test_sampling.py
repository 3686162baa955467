import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satlens.errors import InputError
from satlens.probes.features import final_features
from satlens.probes.sampling import StageSampler, state_keys
from satlens.probes.stages import stage_labels
from satlens.probes.states import COLUMNS, matched
from tests.order.planted import make_events
from tests.probes.planted import few, noise_stream, planted_events


def sampled(events, resid, parts=None, per_cell=10, seed=0, **policy):
    """Through the sampler, in the given parts (row numbers)."""
    sampler = StageSampler(per_cell, seed=seed, **policy)
    features = resid[-1, :, :2].copy()
    for rows in [np.arange(len(events))] if parts is None else parts:
        sampler.update(resid[:, rows], events[rows], features[rows])
    return sampler.finish()


@pytest.fixture(scope="module")
def stream():
    rng = np.random.default_rng(0)
    events = planted_events(rng)
    return events, noise_stream(rng, events, d=5)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 40))
def test_the_choice_depends_on_neither_order_nor_size_of_the_batches(seed, batch, per_cell):
    rng = np.random.default_rng(3)
    events = planted_events(rng, documents=8)
    resid = noise_stream(rng, events, d=3)
    shuffled = np.random.default_rng(seed).permutation(len(events))
    parts = [shuffled[start : start + batch] for start in range(0, len(events), batch)]
    once, again = sampled(events, resid, None, per_cell), sampled(events, resid, parts, per_cell)
    for name in COLUMNS:
        assert (getattr(once, name) == getattr(again, name)).all(), name
    assert once.counts.to_dict() == again.counts.to_dict()


def test_a_cell_holds_the_states_of_the_lowest_keys_and_their_own_columns(stream):
    events, resid = stream
    data = sampled(events, resid, np.array_split(np.arange(len(events)), 7))
    label = stage_labels(events).label
    assert (np.lexsort((data.key, data.stage, data.layer)) == np.arange(len(data))).all()
    for layer in range(events.n_layers):
        key = state_keys(0, events.doc, events.pos, layer)
        for stage in range(1, events.k + 1):
            rows = np.flatnonzero(label[:, layer] == stage)
            rows = rows[np.argsort(key[rows])][:10]
            mine = (data.layer == layer) & (data.stage == stage)
            assert (data.pos[mine] == events.pos[rows]).all()
            assert (data.doc[mine] == events.doc[rows]).all()
            assert (data.input[mine] == events.input[rows]).all()
            assert (data.top1[mine] == events.token[rows, 0]).all()
            assert (data.state[mine] == resid[layer, rows]).all()
            assert (data.features[mine] == resid[-1, rows, :2]).all()
    assert data.state.dtype == np.float32


def test_the_choice_is_uniform_and_differs_by_seed_and_layer():
    n = 4000
    doc, pos = np.repeat(np.arange(40), 100), np.tile(np.arange(100), 40)
    keys = [state_keys(seed, doc, pos, layer) for seed in (0, 1, -5) for layer in (0, 1)]
    assert len(np.unique(np.concatenate(keys))) == 6 * n
    for key in keys:
        assert stats.kstest(key / 2.0**64, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(keys[0].astype(float), keys[1].astype(float))[0, 1]) < 0.06


def test_a_tensor_of_any_type_is_read_and_not_shared(stream):
    events, resid = stream
    sampler = StageSampler(10)
    tensor = torch.from_numpy(resid.copy()).bfloat16()
    sampler.update(tensor, events)
    expected = tensor.float().clone()
    tensor.zero_()
    data = sampler.finish()
    assert data.features.shape == (len(data), 0)
    rows = np.array([np.flatnonzero(events.pos == pos)[0] for pos in data.pos])
    assert (data.state == expected.numpy()[data.layer, rows]).all()


def test_balanced_means_equal_at_every_layer(stream):
    events, resid = stream
    data = sampled(events, resid, per_cell=40)
    balanced = data.balanced(3, min_states=15)
    sizes = balanced.sizes()
    used = np.unique(balanced.layer)
    assert (sizes[used] == sizes[used, :1]).all() and sizes[used].min() >= 15
    assert (sizes[used, 0] == data.sizes()[used].min(1)).all()
    skipped = set(range(events.n_layers)) - set(used.tolist())
    assert set(balanced.skipped) == skipped and 0 in skipped
    assert balanced.skipped[events.n_layers - 1].startswith("every rank is fixed")
    rarest = int(data.sizes()[0].argmin())
    assert balanced.skipped[0] == (
        f"{data.sizes()[0, rarest]} states of stage {rarest + 1}, fewer than 15"
    )
    assert not np.shares_memory(balanced.state, data.state)


def test_without_a_number_the_most_stages_that_some_layer_can_fill(stream):
    events, resid = stream
    data = sampled(events, resid, per_cell=200)
    most = [data.sizes()[:, :m].min(1).max() for m in (2, 3)]
    assert most[1] < most[0]
    assert data.balanced(min_states=most[1]).stages == 3
    assert data.balanced(min_states=most[1] + 1).stages == 2


def test_matched_parts_have_equal_cells(stream):
    events, resid = stream
    data = sampled(events, resid, per_cell=200)
    a, b = matched(few(data, np.arange(10)), few(data, np.arange(8, 30)), stages=2, min_states=8)
    assert (a.sizes() == b.sizes()).all() and len(a) > 0
    assert a.stages == b.stages == 2 and a.skipped == b.skipped
    own = few(data, np.arange(10)).balanced(2, min_states=8)
    assert len(a) <= len(own) and set(a.key) <= set(own.key)


def test_the_summary_holds_counts_before_balancing(stream):
    events, resid = stream
    balanced = sampled(events, resid, per_cell=40).balanced(2, min_states=15)
    found = balanced.to_dict()
    label = stage_labels(events).label
    assert found["counts"] == [[int((row == i).sum()) for i in (1, 2)] for row in label.T]
    assert (found["stages"], found["chance"]) == (2, 0.5)
    assert found["per_stage"] * 2 == found["states"] == len(balanced)
    assert found["tokens"] == len(events) and found["documents"] == 30


def test_too_few_states_are_refused_with_the_table_and_what_to_change(stream):
    events, resid = stream
    data = sampled(events, resid, per_cell=20)
    with pytest.raises(InputError) as caught:
        data.balanced(min_states=50)
    text = str(caught.value)
    assert text.startswith(
        "No layer has 50 states of every stage 1 to 2: the best layer has 20 of its rarest stage."
    )
    row = "".join(f"{n:10d}" for n in data.sizes()[3])
    assert "\nlayer    stage 1   stage 2   stage 3\n    0 " in text and f"\n    3 {row}\n" in text
    assert "Give more text, ask for fewer stages, lower min_states (and see that per_cell" in text
    with pytest.raises(InputError, match="in each of the 2 collections that are compared"):
        matched(data, data, stages=3, min_states=50)


@pytest.mark.parametrize("stages", [1, 4])
def test_stages_that_do_not_exist_are_refused(stream, stages):
    with pytest.raises(InputError, match=rf"stages must be 2 to 3 \(.*k=3 ranks\), got {stages}"):
        sampled(*stream).balanced(stages)


def test_one_stage_alone_is_refused():
    events = make_events(np.full((60, 3), 4), 5)  # nothing is fixed before the output
    with pytest.raises(InputError, match="every stage 1 to 2: the best layer has 0"):
        sampled(events, np.zeros((5, 60, 2), np.float32), per_cell=60).balanced()


def test_what_does_not_belong_together_is_refused(stream):
    events, resid = stream
    sampler = StageSampler(10)
    with pytest.raises(InputError, match=r"of the 360 tokens and 9 layers of the events; got \(8,"):
        sampler.update(resid[:-1], events)
    sampler.update(resid, events)
    with pytest.raises(InputError, match=r"before were \(5, 0\) wide, these are \(4, 0\)"):
        sampler.update(resid[..., :4], events)
    with pytest.raises(InputError, match="No state has a stage: 0 tokens were read"):
        StageSampler(10).finish()
    with pytest.raises(InputError, match="per_cell must be at least 1, got 0"):
        StageSampler(0)
    data = sampled(events, resid)
    with pytest.raises(InputError, match="StageStates.layer has 1 rows; there are"):
        dataclasses.replace(data, layer=data.layer[:1])
    with pytest.raises(InputError, match="Only balanced states have a summary"):
        data.to_dict()


def test_features_are_the_margins_and_the_entropy_of_the_output():
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(0))
    found = final_features(logits, 4).numpy()
    ordered = np.sort(logits.numpy(), axis=1)[:, ::-1]
    assert np.allclose(found[:, :4], ordered[:, :4] - ordered[:, 1:5])
    assert np.allclose(found[:, 4], stats.entropy(logits.softmax(-1).numpy(), axis=1), atol=1e-5)
    assert final_features(logits[:, :3], 4).shape == (7, 3)
