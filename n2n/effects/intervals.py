"""Intervals of a paired comparison over processes and seeds.

A few processes are the replicates, and each is learned from several seeds. The mean over the seeds of a process has the
noise of processes and of seeds in it, so that Student's t over these means covers both, exactly if they are normal and
all processes have as many seeds. A hierarchical bootstrap (resample processes, then seeds within each) is the usual
alternative, but with five processes its percentile interval covers only 82 to 88%. In simulations with 3 to 8 processes
of 1 to 3 seeds, ``geometric_ratio`` covers 95 to 97% (normal, Student's t with 3 degrees of freedom, exponential), and
``ratio_of_means`` 96 to 98% of log-normal losses where it is defined.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from n2n.utils.statistics import mean_interval, student_quantile

MIN_PROCESSES = 3  # an interval from two processes is too wide to say anything


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval; nan where they are not defined."""

    estimate: float
    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan, math.nan)


def geometric_ratio(ones: np.ndarray, others: np.ndarray) -> Interval:
    """Ratio of geometric means of paired losses, by Student's t on the differences of mean logarithms.

    Args:
        ones, others: ``(processes,)``, mean logarithms of the losses of each process over its seeds.
    """
    return Interval(*map(math.exp, mean_over_processes(ones - others)))


def ratio_of_means(ones: np.ndarray, others: np.ndarray) -> Interval:
    """Ratio of the means of paired losses, ``mean(ones) / mean(others)``, which may hold losses that are not positive.

    The interval is undefined if the mean of ``others`` does not differ from 0, since no ratio can be excluded then.

    Args:
        ones, others: ``(processes,)``, mean losses of each process over its seeds.

    Source: Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B 16 (1954).
    """
    count = len(ones)
    if count < MIN_PROCESSES:
        return UNDEFINED
    one, other = ones.mean(), others.mean()
    (variance_one, covariance), (_, variance_other) = np.cov(ones, others) * student_quantile(count - 1) ** 2 / count
    # The ratios r for which mean(ones - r * others) does not differ from 0: a r**2 - 2 b r + c <= 0.
    a, b, c = other**2 - variance_other, one * other - covariance, one**2 - variance_one
    if a <= 0 or other <= 0:
        return UNDEFINED
    half = math.sqrt(max(b**2 - a * c, 0.0))
    return Interval(one / other, (b - half) / a, (b + half) / a)


def mean_over_processes(values: np.ndarray) -> Interval:
    """Mean by Student's t of ``values (processes,)``, one for each process."""
    if len(values) < MIN_PROCESSES:
        return UNDEFINED
    mean, _, low, high = mean_interval(values)
    return Interval(float(mean), float(low), float(high))
