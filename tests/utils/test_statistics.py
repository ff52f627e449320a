"""Quantiles and entropies against published and exact values."""

import math

import numpy as np
import pytest
import torch

from n2n.utils.statistics import entropy_of, mean_interval, ratio_error, student_quantile, t_interval


@pytest.mark.parametrize(("freedom", "expected"), [(2, 4.3027), (3, 3.1824), (7, 2.3646), (30, 2.0423)])
def test_quantiles_of_student_s_t(freedom, expected):
    """Abramowitz and Stegun, table 26.10."""
    assert student_quantile(freedom) == pytest.approx(expected, abs=1e-4)


def test_student_s_t_with_one_degree_of_freedom_is_cauchy():
    assert student_quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)


@pytest.mark.parametrize("convert", [np.array, torch.from_numpy])
def test_entropy_of_distributions(convert):
    laws = convert(np.array([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.25, 0.25, -1e-17]]))
    entropies = entropy_of(laws)
    assert type(entropies) is type(laws)
    np.testing.assert_allclose(entropies, [0.0, math.log(4), 1.5 * math.log(2)], rtol=1e-15)
    assert math.copysign(1.0, entropies[0]) == 1.0


def test_arrays_and_tensors_have_the_same_entropy():
    laws = np.random.default_rng(0).dirichlet(np.full(32, 0.1), 100)
    np.testing.assert_allclose(entropy_of(laws), entropy_of(torch.from_numpy(laws)).numpy(), rtol=1e-13)


def test_the_interval_of_a_mean_by_hand():
    """Values 1, 2, 6: mean 3, standard error sqrt(7 / 3); t of 2 degrees of freedom is 4.302653."""
    interval = mean_interval(np.array([1.0, 2.0, 6.0]))
    half = 4.302653 * np.sqrt(7 / 3)
    assert interval == pytest.approx((3.0, np.sqrt(7 / 3), 3.0 - half, 3.0 + half), rel=1e-6)
    assert t_interval(interval.mean, interval.standard_error, 3) == (interval.low, interval.high)


def test_the_error_of_a_ratio_of_sums_by_hand():
    """Sums 1 and 6 over 1 and 3 tokens: the ratio is 7 / 4, and both sequences are 3 / 4 away from it."""
    assert ratio_error(np.array([1.0, 6.0]), np.array([1.0, 3.0]), 7 / 4) == pytest.approx(np.sqrt(2 * 2 * 0.75**2) / 4)
