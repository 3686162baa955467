import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satlens.errors import InputError
from satlens.patching import Pairs, find_pairs
from satlens.patching.pairs import default_gap
from satlens.saturation.events import SaturationEvents


def some_events(seed, n=60, n_layers=9, tops=5, docs=4):
    rng = np.random.default_rng(seed)
    doc = np.sort(rng.integers(docs, size=n))
    return SaturationEvents(
        rng.integers(n_layers, size=(n, 2)), rng.integers(tops, size=(n, 2)), doc=doc,
        pos=np.arange(n) % 17, n_layers=n_layers,
    )  # fmt: skip


@given(
    st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([None, True, False]),
    st.sampled_from([None, 0, 3, 10]), st.integers(0, 2), st.sampled_from([None, 1, 5]),
)  # fmt: skip
def test_every_pair_is_what_was_asked_for(seed, gap, across, distance, room, limit):
    events = some_events(seed)
    asked = dict(gap=gap, across=across, max_distance=distance, room=room, limit=limit, seed=seed)
    try:
        pairs = find_pairs(events, **asked)
    except InputError:
        assert not possible(events, gap, across, distance, room)
        return
    d, r = pairs.donor, pairs.recipient
    assert (events.token[d, 0] == events.token[r, 0]).all()
    assert (pairs.recipient_layer - pairs.donor_layer >= gap).all()
    if across is not None:
        assert ((events.doc[d] != events.doc[r]) == across).all()
    if distance is not None:
        assert (np.abs(events.pos[d] - events.pos[r]) <= distance).all()
    assert (pairs.donor_layer - room >= 0).all() and (pairs.donor_layer + room <= 7).all()
    used = np.concatenate([d, r])
    assert len(np.unique(used)) == len(used)
    assert limit is None or len(pairs) <= limit
    again = find_pairs(events, **asked)
    assert (again.donor == d).all() and (again.recipient == r).all()
    whole = find_pairs(events, **{**asked, "limit": None}).first(len(pairs))
    assert (whole.donor == d).all()  # a limit takes the first ones


def possible(events, gap, across, distance, room):
    s = events.layer[:, 0]
    for d in range(len(events)):
        for r in range(len(events)):
            if (
                events.token[d, 0] == events.token[r, 0]
                and s[r] - s[d] >= gap
                and (across is None or (events.doc[d] != events.doc[r]) == across)
                and (distance is None or abs(int(events.pos[d]) - int(events.pos[r])) <= distance)
                and room <= s[d] <= events.n_layers - 2 - room
            ):
                return True
    return False


def test_another_seed_gives_other_pairs_and_the_greedy_choice_uses_most_tokens():
    events = some_events(0, n=400)
    first, second = find_pairs(events, gap=2, seed=0), find_pairs(events, gap=2, seed=1)
    assert first.donor.tolist() != second.donor.tolist()
    assert len(first) > 100


def test_the_default_gap_is_the_papers_share():
    assert [default_gap(n) for n in (48, 24, 12, 3)] == [10, 5, 3, 1]
    assert find_pairs(some_events(0)).settings["gap"] == 2


def test_the_frame_names_both_sides():
    pairs = find_pairs(some_events(3), gap=3)
    frame = pairs.to_frame()
    assert list(frame) == ["token", "donor_doc", "donor_pos", "donor_layer", "recipient_doc",
                           "recipient_pos", "recipient_layer"]  # fmt: skip
    assert len(frame) == len(pairs) and (frame.recipient_layer - frame.donor_layer >= 3).all()
    assert (frame.recipient_doc == pairs.doc).all()


def events_of(layers, tops, docs=None):
    n = len(layers)
    docs = list(range(n)) if docs is None else docs
    return SaturationEvents([[x] for x in layers], [[t] for t in tops], docs, range(n), 10)


@pytest.mark.parametrize(
    "events, asked, message",
    [
        (
            events_of([1, 3, 5], [7, 7, 8]), dict(gap=4),
            "at least 4 apart: of 3 tokens, 2 share their top-1 with another, and the largest gap among "
            "those is 2 layers. Lower gap, or give more text.",
        ),
        (
            events_of([1, 3, 5], [7, 8, 9]), {},
            "of 3 tokens, 0 share their top-1 with another. Give more text.",
        ),
        (
            events_of([1, 6, 2], [7, 7, 7], [0, 1, 0]), dict(gap=3, across=False),
            "the largest gap among those is 5 layers (with across=False: 1 layers). Lower gap, loosen "
            "across, or give more text.",
        ),
        (
            events_of([1, 6], [7, 7]), dict(gap=3, across=False, room=2),
            "(with across=False: none, as no such tokens are left). Lower gap, loosen room=2, across,",
        ),
    ],
)  # fmt: skip
def test_no_pairs_says_what_is_missing(events, asked, message):
    with pytest.raises(InputError) as error:
        find_pairs(events, **asked)
    assert message in str(error.value)


def test_settings_that_mean_nothing_are_refused():
    events = some_events(0)
    for gap in (0, 9):
        with pytest.raises(InputError, match=f"gap must be 1 .. 8, .* of 9 layers; got {gap}"):
            find_pairs(events, gap=gap)
    with pytest.raises(InputError, match="limit must be at least 1, got 0"):
        find_pairs(events, limit=0)
    with pytest.raises(InputError, match="room must be at least 0, got -1"):
        find_pairs(events, room=-1)
    with pytest.raises(InputError, match="Pairs.donor wants rows of SaturationEvents"):
        Pairs(events, [60], [0])
    with pytest.raises(InputError, match="got 2 and 1"):
        Pairs(events, [0, 1], [2])
