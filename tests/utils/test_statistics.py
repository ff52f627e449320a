"""Quantiles and entropies against published and exact values."""

import math

import numpy as np
import pytest
import torch

from n2n.utils.statistics import entropy_of, student_quantile


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
