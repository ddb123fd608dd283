"""What pictures of runs share: round ticks, numbers in words, smoothing, curves over seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swingup.reports.curves import Curve, short, smooth, thinned, ticks, together


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_within_the_range_evenly_spaced_and_few(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 7
    assert found[0] >= low - 1e-6 * width - 1e-9 * abs(low)
    assert found[-1] <= low + width + 1e-6 * width + 1e-9 * abs(low)


def test_ticks_are_round():
    assert ticks(0, 1e6).tolist() == [0, 2e5, 4e5, 6e5, 8e5, 1e6]
    assert ticks(-1600, 0).tolist() == [-1500, -1000, -500, 0]


@pytest.mark.parametrize(
    ("value", "biggest", "said"),
    [
        (250_000, 1e6, "0.25M"),
        (20_000, 50_000, "20k"),
        (-1500, 1600, "-1,500"),
        (0.05, 0.2, "0.05"),
        (0, 1e6, "0"),
    ],
)
def test_numbers_on_an_axis_are_short(value, biggest, said):
    assert short(value, biggest) == said


def test_smoothing_is_the_mean_of_neighbours_without_gaps():
    y = np.array([0.0, 1, 2, np.nan, 4, 5])
    assert smooth(y, 3).tolist() == [0.5, 1, 1.5, 3, 4.5, 4.5]
    assert smooth(y[:3], 1).tolist() == [0, 1, 2]


def test_a_thinned_curve_keeps_its_ends_and_its_interval():
    x = np.arange(10_001.0)
    found = thinned(Curve("a", x, 2 * x, x, 3 * x, "b"))
    assert len(found.x) == 300
    assert (found.x[0], found.x[-1]) == (0, 10_000)
    np.testing.assert_array_equal(found.high, 3 * found.x)


def test_seeds_come_on_steps_that_all_have():
    x, y = together(
        [(np.array([0.0, 10, 20]), np.array([0.0, 10, 20])), (np.array([5.0, 15]), np.array([1.0, 1]))]
    )
    assert x.tolist() == [5, 10, 15]
    assert y.tolist() == [[5, 10, 15], [1, 1, 1]]
