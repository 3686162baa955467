from dataclasses import replace

import numpy as np
import pytest
import torch

from satlens import detect
from satlens.errors import InputError
from satlens.models import wrap
from satlens.patching import DIRECTIONS, directions, steer
from satlens.patching import directions as estimate_directions
from satlens.patching.collected import logistic_normal
from satlens.patching.stage_sums import NullSums, StageSums, groups
from satlens.saturation.events import SaturationEvents
from satlens.saturation.stages import settled, stage_of
from tests.builders import random_hooked, random_ids
from tests.patching.reference import run_by_hand, saturation_by_hand
from tests.patching.toys import cosine, documents, toy

OPTIONS = dict(k=3, min_states=10, alphas=(-1, 0, 1, 2), limit=80)


@pytest.fixture(scope="module")
def read():
    return steer(toy(reads_flag=True), documents(), **OPTIONS)


def test_the_planted_direction_is_found_on_both_halves(read):
    flag = toy().host.flag
    means, usable = read.directions.vectors["means"][0], read.directions.usable
    assert usable[:, 3:8].all()
    for half in (0, 1):
        for layer in np.flatnonzero(usable[half]):
            assert cosine(means[half, layer], flag) > 0.95
    # The positive control of the controls: none of them is the flag's direction by construction.
    shuffled = read.directions.vectors["shuffled"]
    assert len(shuffled) > 1
    found = [cosine(v, flag) for v in shuffled[:, 0, 5]]
    assert min(found) < 0 < max(found)


def test_the_planted_direction_starts_the_next_stage_and_random_ones_do_not(read):
    at = read.alphas.index(1.0)
    assert read.estimate("transition", "means").value[at] > 0.95
    assert read.estimate("transition", "probe").value[at] > 0.95
    assert read.estimate("transition", "random").value[at] < 0.2
    assert read.estimate("advance", "means").value[at] > 1
    assert read.estimate("kept", "means").value[at] == 1  # no other answer was put in
    assert read.estimate("forced", "means").value[at] > 0.95
    for name in DIRECTIONS:  # forced is a transition to one's own answer
        own = read.values("transition", name) * read.values("kept", name)
        np.testing.assert_array_equal(read.values("forced", name), own)
    assert read.estimate("transition", "means").value[read.alphas.index(-1.0)] == 0
    name, effect = read.strictest(("shuffled", "random", "rotated", "exchanged"))
    assert effect.low > 0.05 and name in ("shuffled", "rotated", "exchanged")


def test_a_transition_to_another_answer_is_not_forced(read):
    """The same runs, said to end in an id that no clean run has."""
    other = read.new.token.copy()
    other[:, 0] = 10**6
    changed = replace(read, new=replace(read.new, token=other))
    at = read.alphas.index(1.0)
    assert changed.estimate("transition", "means").value[at] > 0.95
    assert changed.estimate("kept", "means").value[at] == 0
    assert changed.estimate("forced", "means").value[at] == 0


def test_a_direction_that_nothing_reads_does_nothing():
    """The same states and the same direction, but no block looks at it."""
    result = steer(toy(reads_flag=False), documents(), **OPTIONS)
    flag = toy().host.flag
    assert cosine(result.directions.vectors["means"][0, 0, 5], flag) > 0.95
    for name in DIRECTIONS:
        assert (result.estimate("transition", name).value == 0).all(), name
        assert (result.estimate("advance", name).value == 0).all(), name
    _, effect = result.strictest(("shuffled", "random", "rotated", "exchanged"))
    assert effect.high < 0.02


def test_recipients_are_in_their_stage_with_two_layers_left(read):
    events = read.events
    fixed, at = settled(events.layer[read.recipient])[:, 0], read.at
    assert (stage_of(events.layer, 10)[read.recipient, at] == 1).all()
    assert (fixed >= at + 2).all()
    assert len(np.unique(read.recipient)) == len(read.recipient) == 80
    assert len(np.unique(at)) > 2
    clean = settled(read.clean.layer)[:, 0] <= at + 1
    assert not clean.any()  # the transition never comes by itself


def test_no_strength_is_the_clean_run(read):
    chosen = read.alpha == 0
    assert set(read.condition[chosen]) == set(DIRECTIONS)
    assert (read.new.layer[chosen] == read.clean.layer[read.unit[chosen]]).all()
    assert (read.new.token[chosen] == read.clean.token[read.unit[chosen]]).all()


def test_a_token_is_never_steered_by_its_own_document():
    """Directions for one half do not change when the documents of that half do."""
    model, texts = toy(), documents()
    events = detect(model, texts, k=3)
    found = directions(model, texts, events, kinds=["means"], min_states=10)
    other = documents(seed=5)
    mixed = [other[d] if found.half_of(np.array([d]))[0] == 0 else texts[d] for d in range(12)]
    again = directions(model, mixed, detect(model, mixed, k=3), kinds=["means"], min_states=10)
    means, changed = found.vectors["means"][0], again.vectors["means"][0]
    np.testing.assert_allclose(changed[1], means[1], atol=1e-5)  # for the documents of half 0
    assert not np.allclose(changed[0], means[0], equal_nan=True)
    result = steer(model, texts, events=events, conditions="means", alphas=[1.0], min_states=10)
    assert set(found.half_of(result.doc)) == {0, 1}


def test_means_equal_plain_means(read):
    model, texts, events = toy(), documents(), read.events
    states = torch.cat([model.states(b).resid for b in model.batches(texts, 1)], dim=1)
    stage, half = stage_of(events.layer, 10), read.directions.half_of(events.doc)
    order = np.concatenate([np.flatnonzero(events.doc == d) for d in range(12)])
    for h in (0, 1):
        for layer in (3, 6):
            mean = [
                states[layer][torch.tensor((half[order] == h) & (stage[order, layer] == i))].mean(0)
                for i in (1, 2)
            ]
            np.testing.assert_allclose(
                read.directions.vectors["means"][0, h, layer], (mean[1] - mean[0]), atol=1e-4
            )


def test_directions_have_one_length_and_random_ones_are_fresh(read):
    norm = read.directions.norm
    for name, vectors in read.directions.vectors.items():
        length = np.linalg.norm(vectors, axis=-1)
        known = ~np.isnan(length)
        assert known[:, read.directions.usable].mean() > 0.9, name
        np.testing.assert_allclose(length[known], np.broadcast_to(norm, length.shape)[known])


def test_the_normal_is_in_coordinates_of_the_state():
    """Two Gaussians of one diagonal covariance C, v apart: the best normal is C^-1 v."""
    rng = np.random.default_rng(0)
    spread, y = np.array([0.1, 1.0, 10.0]), rng.integers(2, size=4000)
    v = 2 * spread
    x = rng.normal(size=(4000, 3)) * spread + y[:, None] * v
    assert cosine(logistic_normal(x, y), v / spread**2) > 0.99


def test_steering_equals_adding_by_hand():
    model = wrap(random_hooked(6, n_ctx=40, dtype=torch.float64))
    texts = random_ids(50, [40] * 8)
    result = steer(model, texts, k=2, alphas=[0.5, 1.0], min_states=5, limit=10,
                   conditions=["means", "rotated"])  # fmt: skip
    rows, found = result.events, result.directions
    for run in range(0, len(result), 3):
        unit, layer = result.unit[run], int(result.at[result.unit[run]])
        token = result.recipient[unit]
        ids, column = texts[rows.doc[token]], int(rows.pos[token])
        half = 1 - found.half_of(rows.doc[[token]])[0]
        vector = torch.tensor(found.vectors[str(result.condition[run])][0, half, layer])
        clean, _ = run_by_hand(model.host, ids, column)
        put = clean[layer] + vector.float() * result.alpha[run]
        states, logits = run_by_hand(model.host, ids, column, (layer, put))
        layers, tokens = saturation_by_hand(model.host, states, logits, 2)
        assert result.new.layer[run].tolist() == layers and result.new.token[run].tolist() == tokens


def test_nulls_need_donors_and_say_so():
    texts = documents(2, 12)
    model = toy()
    events = detect(model, texts, k=3)
    same = SaturationEvents(
        events.layer, events.token * 0 + [[1, 2, 3]], events.doc, events.pos, 10
    )
    sums = NullSums(lambda resid, layer: model.readout(resid), ["rotated", "exchanged"], 1, seed=0)
    for batch in model.batches(texts, 1):
        states = model.states(batch)
        rows = np.flatnonzero(events.doc == int(states.doc[0]))
        sums.update(states.resid, same[rows], np.zeros(len(rows), int))
    found, missing = sums.finish()
    assert list(found) == ["rotated"] and "have no such donor" in missing["exchanged"]


def test_sums_count_both_stages_and_leave_out_the_output():
    group = groups(np.array([[1, 1, 2], [2, 2, 2], [3, 1, 1]]), 1)
    assert group.tolist() == [[0, 0, -1], [1, 1, -1], [-1, 0, -1]]
    sums, resid = StageSums(3, 2), torch.arange(18.0).reshape(3, 3, 2)
    sums.add(resid, group, np.array([0, 0, 1]))
    assert sums.count[:, :2].tolist() == [[[1, 1], [1, 1]], [[0, 0], [1, 0]]]
    assert sums.difference()[0, :2].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert np.isnan(sums.difference()[1]).all()


def test_the_frame_and_the_words(read):
    frame = read.to_frame()
    assert len(frame) == 3 * len(read) and "80 tokens in stage 1" in repr(read)
    one = frame[(frame.condition == "means") & (frame["rank"] == 1) & (frame.alpha == 1)]
    transition = (one.layer <= one.steered + 1).mean()
    assert transition == read.estimate("transition", "means").value[read.alphas.index(1.0)]
    with pytest.raises(
        InputError, match="Unknown outcome 'published'; known are forced, transition"
    ):
        read.values("published", "means")
    with pytest.raises(
        InputError, match="No direction 'self' in this result; it holds means, probe"
    ):
        read.values("kept", "self")
    with pytest.raises(InputError, match="Strength 3 was not tried"):
        read.strictest(("random",), alpha=3)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(alphas=[]), r"alphas must be finite numbers, at least one, each once; got \[\]"),
        (dict(alphas=[1, 1.0]), "each once"),
        (dict(alphas=[float("nan")]), "finite numbers"),
        (dict(stage=4), "stage must be 1 .. 3, since 3 ranks are followed .*; got 4"),
        (dict(conditions=["means", "up"]), "Directions must be some of means, .*; got up"),
        (dict(layers=[8]), r"layers must be some of 0 .. 7, .* in a model of 10; got \[8\]"),
        (dict(layers=[]), "layers must be some of 0 .. 7"),
        (
            dict(min_states=1000),
            "No token to steer out of stage 1: .* needs 1000 states in stage 1",
        ),
        (dict(batch_tokens=2.5), "batch_tokens must be a whole number"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        steer(toy(), documents(4, 10), **{"k": 3, **options})


def test_one_document_cannot_be_halved():
    with pytest.raises(InputError) as error:
        steer(toy(), documents(1), k=3)
    assert str(error.value) == (
        "Directions are estimated on one half of the documents and tried on the other; found 1 document. "
        "Give more documents, or cut this one into several."
    )


def test_events_of_other_inputs_are_refused():
    model, texts = toy(), documents(4)
    events = detect(model, texts, k=3)
    with pytest.raises(
        InputError, match="40 of 160 events are of tokens that are not in the inputs"
    ):
        estimate_directions(model, texts[:3], events)
