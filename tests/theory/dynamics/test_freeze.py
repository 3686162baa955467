"""Curves whose freeze step is known, and a plain loop beside the fast one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from satlens.errors import InputError
from satlens.theory.dynamics import freeze_step

STEPS = np.arange(200)


@pytest.mark.parametrize(
    ("speed", "step"),
    [
        (np.where(STEPS < 60, 1.0, 0.05), 60),  # moves, then creeps
        (np.exp(-STEPS / 20.0), 47),  # below a tenth from 20 ln 10 = 46.05 on
        (1.0 / (1 + STEPS), 9),  # 1 / (1 + 9) is a tenth
        (np.zeros(200), 0),  # never moved
        (np.ones(200), np.inf),  # never stopped
        (np.where((STEPS < 5) | (STEPS == 150), 1.0, 0.0), 151),  # stirs once more
        (np.where(STEPS < 199, 1.0, 0.0), 199),
    ],
)
def test_known_curves(speed, step):
    assert freeze_step(speed) == step
    assert freeze_step(7 * speed) == step  # only the shape counts


def plain(speed, share):
    for t in range(len(speed)):
        if all(v <= share * max(speed) for v in speed[t:]):
            return t
    return np.inf


@given(
    arrays(float, (3, 12), elements=st.sampled_from([0.0, 0.1, 0.2, 1.0, 2.0])),
    st.sampled_from([0.05, 0.1, 0.5]),
)
def test_as_the_plain_loop(speed, share):
    assert freeze_step(speed, share).tolist() == [plain(row, share) for row in speed]


@pytest.mark.parametrize(
    ("speed", "share", "words"),
    [
        ([], 0.1, "steps on the last axis"),
        ([1.0, -1.0], 0.1, "below 0 or NaN"),
        ([1.0, np.nan], 0.1, "below 0 or NaN"),
        ([1.0], 1.0, "share must lie between 0 and 1, got 1.0"),
    ],
)
def test_what_is_no_speed_is_refused(speed, share, words):
    with pytest.raises(InputError, match=words):
        freeze_step(np.array(speed), share)
