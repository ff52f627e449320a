"""Intervals hold the true value as often as they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from n2n.effects import geometric_ratio, mean_over_processes, ratio_of_means

TABLES = 2000
# The standard error of a coverage of 95% over 2,000 tables is 0.5%.
LOW, HIGH = 0.935, 0.985
NOISES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape) / math.sqrt(3),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - 1,
}


def log_losses(rng: np.random.Generator, noise, processes: int, seeds: int, ratio: float) -> list[np.ndarray]:
    """Mean log losses over seeds of two learners: processes differ, the effect differs between them, seeds differ."""
    shared = 0.8 * noise(rng, processes)
    learners = []
    for level in (math.log(0.1), math.log(0.1 / ratio)):
        own = 0.4 * noise(rng, processes)
        seed_noise = 0.3 * noise(rng, (processes, seeds)).mean(axis=1)
        learners.append(level + shared + own + seed_noise)
    return learners


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("processes", [5, 8])
@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_of_a_geometric_ratio_covers_it(noise, processes, seeds):
    rng = np.random.default_rng(0)
    found = [geometric_ratio(*log_losses(rng, NOISES[noise], processes, seeds, 3.0)) for _ in range(TABLES)]
    assert LOW < np.mean([interval.low <= 3.0 <= interval.high for interval in found]) < HIGH


@pytest.mark.parametrize("processes", [5, 8])
def test_the_interval_of_a_ratio_of_means_covers_it(processes):
    """Also where some losses are negative, as those near 0 are on a finite sample."""
    rng, inside = np.random.default_rng(0), []
    for _ in range(TABLES):
        shared = rng.normal(1.0, 0.3, processes)
        ones, others = (level * (shared + rng.normal(0, 0.6, processes)) for level in (0.1, 0.05))
        interval = ratio_of_means(ones, others)
        if np.isfinite(interval.low):
            inside.append(interval.low <= 2.0 <= interval.high)
    assert len(inside) > TABLES / 4
    assert LOW < np.mean(inside) < HIGH


@pytest.mark.parametrize("processes", [5, 8])
def test_the_interval_of_a_mean_over_processes_covers_it(processes):
    rng, inside = np.random.default_rng(0), 0
    for _ in range(TABLES):
        interval = mean_over_processes(2 + rng.normal(size=processes) - rng.normal(size=processes))
        inside += interval.low <= 2.0 <= interval.high
    assert LOW < inside / TABLES < HIGH


def test_the_geometric_ratio_is_a_paired_t_interval_of_logarithms():
    rng = np.random.default_rng(0)
    ones, others = rng.normal(size=6), rng.normal(size=6)
    expected = stats.ttest_rel(ones, others).confidence_interval()
    assert np.allclose(geometric_ratio(ones, others), np.exp([(ones - others).mean(), expected.low, expected.high]))


def test_the_ends_of_the_ratio_of_means_are_where_a_paired_test_is_at_its_limit():
    rng = np.random.default_rng(0)
    ones, others = rng.normal(3, 0.5, 6), rng.normal(1, 0.2, 6)
    interval = ratio_of_means(ones, others)
    assert interval.estimate == pytest.approx(ones.mean() / others.mean())
    for end in (interval.low, interval.high):
        assert stats.ttest_1samp(ones - end * others, 0).pvalue == pytest.approx(0.05)


def test_a_denominator_like_zero_or_two_processes_have_no_interval():
    assert np.isnan(ratio_of_means(np.ones(4), np.array([1.0, -1, 1, -1]))).all()
    for interval in (geometric_ratio, ratio_of_means):
        assert np.isnan(interval(np.ones(2), np.ones(2))).all()
    assert np.isnan(mean_over_processes(np.ones(2))).all()
