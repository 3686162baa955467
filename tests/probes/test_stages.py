import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from satlens.errors import InputError
from satlens.probes.stages import CHOICES, LEFT_OUT, stage_labels
from tests.order.planted import make_events


def labels(layer, n_layers=6, **policy):
    return stage_labels(make_events([layer], n_layers), **policy).label[0].tolist()


def test_a_state_is_in_the_stage_of_the_first_rank_not_fixed_before_it():
    assert labels([1, 2, 4]) == [1, 1, 2, 3, 3, 0]
    assert labels([0, 1, 2]) == [1, 2, 3, 4, 4, 0]


def test_a_rank_fixed_before_a_higher_one_waits_for_it():
    assert labels([3, 1, 4]) == [1, 1, 1, 1, 3, 0]
    assert labels([3, 1, 4], out_of_order="drop") == [0] * 6


def test_the_lower_rank_of_a_tie_has_no_layer():
    assert labels([1, 1, 3]) == [1, 1, 3, 3, 4, 0]
    assert labels([1, 1, 3], ties="drop") == [0] * 6


def test_a_rank_fixed_only_at_the_output_gives_certain_labels_below():
    assert labels([1, 5, 5]) == [1, 1, 2, 2, 2, 0]
    assert labels([1, 5, 5], censored="drop") == [1, 1, 0, 0, 0, 0]
    assert labels([1, 5, 5], ties="drop") == [1, 1, 2, 2, 2, 0]  # censored ranks are no tie


def by_hand(s, n_layers, out_of_order, ties, censored):
    """One state after the other, by the words of the docstring."""
    k = len(s)
    last = n_layers - 1
    late = any(s[i] > s[j] for i in range(k) for j in range(i + 1, k))
    tied = any(s[i] == s[i + 1] < last for i in range(k - 1))
    found, why = [], []
    for layer in range(n_layers):
        stage = 1
        while stage <= k and all(s[i] < layer for i in range(stage)):
            stage += 1
        if layer == last:
            reason = "output layer"
        elif late and out_of_order == "drop":
            reason = "out of order"
        elif tied and ties == "drop":
            reason = "tied"
        elif stage <= k and max(s[:stage]) == last and censored == "drop":
            reason = "censored"
        else:
            reason = None
        found.append(0 if reason else stage)
        why.append(reason)
    return found, why, late, tied


@given(
    st.data(),
    st.integers(1, 7),
    st.tuples(*(st.sampled_from(choices) for choices in CHOICES.values())),
)
def test_labels_and_counts_are_those_of_a_plain_loop(data, n_layers, choice):
    shape = st.tuples(st.integers(1, 6), st.integers(1, 5))
    layer = data.draw(hnp.arrays(np.int16, shape, elements=st.integers(0, n_layers - 1)))
    doc = data.draw(hnp.arrays(np.int64, len(layer), elements=st.integers(0, 2)))
    found = stage_labels(
        make_events(layer, n_layers, doc), **dict(zip(CHOICES, choice, strict=True))
    )
    plain = [by_hand(s.tolist(), n_layers, *choice) for s in layer]
    expected = np.array([row for row, *_ in plain])
    assert (found.label == expected).all() and found.label.dtype == np.int8
    reasons = [reason for _, why, *_ in plain for reason in why]
    counts = found.to_dict()
    assert counts["left_out"] == {name: reasons.count(name) for name in LEFT_OUT}
    assert counts["out_of_order"] == sum(late for *_, late, _ in plain)
    assert counts["tied"] == sum(tied for *_, tied in plain)
    assert counts["censored"] == (layer == n_layers - 1).sum(0).tolist()
    assert counts["tokens"] == len(layer) and counts["documents"] == len(set(doc.tolist()))
    for i in range(1, layer.shape[1] + 2):
        assert (found.table()[:, i - 1] == (expected == i).sum(0)).all()
    assert sum(counts["left_out"].values()) + found.table().sum() == layer.shape[0] * n_layers


def test_counts_of_parts_add_up_to_those_of_the_whole():
    rng = np.random.default_rng(0)
    layer, doc = rng.integers(0, 6, (40, 3)), np.repeat(np.arange(8), 5)
    whole = make_events(layer, 6, doc)
    parts = [stage_labels(whole[start : start + 7]).counts for start in range(0, 40, 7)]
    summed = sum(parts[1:], parts[0])
    assert summed.to_dict() == stage_labels(whole).to_dict()


def test_the_dictionary_states_chance_and_is_ready_for_json():
    found = stage_labels(make_events([[1, 2, 3]], 5)).to_dict(stages=2)
    assert json.loads(json.dumps(found)) == {
        "policy": {"out_of_order": "running_max", "ties": "skip", "censored": "keep"},
        "tokens": 1, "documents": 1, "stages": 2, "chance": 0.5, "out_of_order": 0, "tied": 0,
        "censored": [0, 0, 0], "counts": [[1, 0], [1, 0], [0, 1], [0, 0], [0, 0]],
        "left_out": {"output layer": 1, "out of order": 0, "tied": 0, "censored": 0},
    }  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_choice_is_refused_with_the_choices(name):
    a, b = CHOICES[name]
    with pytest.raises(InputError, match=f"{name} must be one of '{a}', '{b}'; got 'guess'."):
        labels([1, 2], **{name: "guess"})


def test_counts_of_different_policies_do_not_add_up():
    events = make_events([[1, 2]], 5)
    with pytest.raises(InputError, match="add up only for one policy, one k and one number of"):
        _ = stage_labels(events).counts + stage_labels(events, ties="drop").counts
