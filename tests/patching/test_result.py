import numpy as np
import pytest

from satlens.patching import Pairs
from satlens.patching.jobs import Outcome
from satlens.patching.result import PatchingResult
from satlens.saturation.events import SaturationEvents

# Recipient: token 2 of another document, final ranking 7, 5, 6; clean layers 6, 4, 8 of 10. Donor: 7, 3, 6.
EVENTS = SaturationEvents(
    [[2, 5, 6], [6, 4, 8]], [[7, 3, 6], [7, 5, 6]], doc=[0, 1], pos=[0, 2], n_layers=10
)


def a_result(layer, token, at=3, condition="paired", source=0):
    return PatchingResult(
        pairs=Pairs(EVENTS, [0], [1]), offsets=(0, 1), conditions=(condition,),
        condition=np.array([condition]), pair=np.array([0]), offset=np.array([1]),
        layer=np.array([at]), source=np.array([source]),
        new=Outcome(np.array([layer]), np.array([token])),
        clean=Outcome(EVENTS.layer[[1]], EVENTS.token[[1]]), n_layers=10,
    )  # fmt: skip


def outcome(name, result, condition="paired"):
    values = result.values(name, condition)
    assert np.isnan(values[0, 0]).all()  # the offset that was not run
    return values[0, 1].tolist()


@pytest.mark.parametrize(
    "layer, token, published, kept",
    [
        ([3, 4, 5], [7, 5, 6], 1, 1),  # fixed at the patched layer
        ([2, 4, 5], [7, 5, 6], 0, 1),  # before it
        ([4, 4, 5], [7, 5, 6], 0, 1),  # after it
        ([3, 4, 5], [5, 7, 6], 0, 0),  # at it, but another answer
    ],
)
def test_the_published_rule(layer, token, published, kept):
    result = a_result(layer, token)
    assert outcome("published", result) == published and outcome("kept", result) == kept


def test_advance_and_stay_count_layers_up_to_the_running_maximum():
    result = a_result([3, 2, 9], [7, 3, 6])
    assert outcome("advance", result) == [6 - 3, 6 - 3, 8 - 9]
    assert outcome("stay", result) == [4, 0, 6]  # layers 0..3, none, 4..9
    assert outcome("advance", result, "clean") == [0, 0, 0]
    assert outcome("stay", result, "clean") == [7, 0, 2]


@pytest.mark.parametrize(
    "layer, token, forced",
    [
        ([3, 4, 5], [7, 5, 6], 1),  # rank 2 was settled at 6, its own answers
        ([3, 6, 6], [7, 5, 6], 0),  # not earlier
        ([6, 2, 8], [7, 5, 6], 0),  # not earlier: it waits for rank 1
        ([3, 4, 5], [7, 3, 6], 0),  # the donor's rank 2
        ([3, 4, 5], [5, 7, 6], 0),  # other answers
    ],
)
def test_forced_wants_the_recipients_own_answers_earlier(layer, token, forced):
    assert outcome("forced", a_result(layer, token)) == forced
    assert outcome("forced", a_result(layer, token), "clean") == 0


def test_forced_leaves_out_a_state_that_brings_the_recipients_rank_2_along():
    """The recipient as its own donor has the very rank 2 that is asked for."""
    one = a_result([3, 4, 5], [7, 5, 6], source=1)
    assert np.isnan(outcome("forced", one))
    for condition in ("self", "random_direction"):
        same = a_result([3, 4, 5], [7, 5, 6], condition=condition, source=1)
        assert outcome("forced", same, condition) == 1


def test_whose_rank_2_it_is():
    assert outcome("own_rank2", a_result([3, 4, 5], [7, 5, 6])) == 1
    assert outcome("donor_rank2", a_result([3, 4, 5], [7, 5, 6])) == 0
    assert outcome("donor_rank2", a_result([3, 4, 5], [7, 3, 6])) == 1
    nobody = a_result([3, 4, 5], [7, 3, 6], condition="random_direction", source=-1)
    assert np.isnan(outcome("donor_rank2", nobody, "random_direction"))
    assert np.isnan(outcome("donor_rank2", nobody, "clean"))
    assert outcome("own_rank2", nobody, "clean") == 1
