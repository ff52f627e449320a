"""Means and their intervals against definitions written out."""

import numpy as np
import pytest

from n2n.utils.statistics import mean_interval, t_interval


def test_the_interval_of_a_mean_by_hand():
    """Values 1, 2, 6: mean 3, standard error sqrt(7 / 3); t of 2 degrees of freedom is 4.302653."""
    found = mean_interval(np.array([1.0, 2.0, 6.0]))
    half = 4.302653 * np.sqrt(7 / 3)
    assert found == pytest.approx((3.0, np.sqrt(7 / 3), 3.0 - half, 3.0 + half), rel=1e-4)
    assert t_interval(found.mean, found.standard_error, 3) == (found.low, found.high)


def test_values_that_are_sums_count_by_their_tokens():
    """Sequences of equally many tokens have the interval of their means, others that of a ratio."""
    sums = np.array([[2.0, 1.0], [4.0, 0.0], [12.0, 5.0]])
    equal = mean_interval(sums, np.full((3, 2), 2.0))
    np.testing.assert_allclose(equal, mean_interval(sums / 2))
    unequal = mean_interval(np.array([1.0, 6.0]), np.array([1.0, 3.0]))
    assert unequal.mean == pytest.approx(7 / 4)
    assert unequal.standard_error == pytest.approx(np.sqrt(2 * 2 * 0.75**2) / 4)
