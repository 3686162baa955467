"""The published numbers, and the line read both ways."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satlens.errors import InputError
from satlens.theory.depth import recommended_depth, recommended_width, size_at, threshold_depth


@pytest.mark.parametrize(("width", "depth"), [(256, 9), (512, 22), (768, 29), (1600, 42)])
def test_depths_as_published(width, depth):
    assert recommended_depth(width) == depth


def test_the_threshold_is_a_logarithm_of_base_3():
    assert threshold_depth(3**7) == pytest.approx(7)
    assert threshold_depth(1) == 0


@given(st.integers(1, 200))
def test_the_line_read_both_ways(depth):
    assert recommended_depth(recommended_width(depth)) == depth
    width = recommended_width(depth)
    assert size_at(depth) == pytest.approx(12 * depth * width**2, rel=2 * 0.6 / width)


@given(st.integers(160, 10**6))
def test_the_depth_is_the_nearest_to_the_line(width):
    depth = recommended_depth(width)
    assert abs(5.039 + 0.0555 * depth - math.log(width)) <= 0.0555 / 2 + 1e-9


@pytest.mark.parametrize("width", [1, 100, 154, 158])
def test_widths_below_the_line_are_refused(width):
    with pytest.raises(InputError, match=f"A width of {width} is below .* from width 159 on"):
        recommended_depth(width)
    assert recommended_depth(159) == 1


@pytest.mark.parametrize("bad", [0, -3, 1.5, True, "768", None])
def test_what_is_no_size_is_refused(bad):
    for ask in (threshold_depth, recommended_depth, recommended_width, size_at):
        with pytest.raises(InputError, match="must be a whole number of 1 or more"):
            ask(bad)
