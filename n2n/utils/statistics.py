"""Means with their standard errors, ratios, and quantiles of normal and Student's t."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

Z95 = 1.959964  # a normal's two-sided 95% quantile


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def ratio_error(above: np.ndarray, below: np.ndarray, ratio: float | np.ndarray) -> np.ndarray:
    """Standard error of ``ratio = sum(above) / sum(below)``, sums over the first axis, of independent sequences.

    Source: Cochran, "Sampling techniques" (1977), section 6.4 (the linearised ratio).
    """
    squares, count = ((above - ratio * below) ** 2).sum(axis=0), len(above)
    return np.sqrt(count / (count - 1) * squares) / below.sum(axis=0)


class MeanInterval(NamedTuple):
    """A mean over independent sequences or processes, its standard error, and its 95% interval by Student's t."""

    mean: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(values: np.ndarray, counts: np.ndarray | None = None) -> MeanInterval:
    """Mean over the first axis, with the interval of ``t_interval``.

    Args:
        values: ``(n, ..)``, a row for each independent sequence or process.
        counts: ``(n, ..)``: each value is a sum over this many tokens, and the mean is the ratio of the two sums.
            None: each value counts once.
    """
    if counts is None:
        mean, error = mean_and_error(values)
    else:
        mean = values.sum(axis=0) / counts.sum(axis=0)
        error = ratio_error(values, counts, mean)
    return MeanInterval(mean, error, *t_interval(mean, error, len(values)))


def t_interval(mean: np.ndarray, standard_error: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the two-sided 95% interval of a mean over ``count`` independent sequences or processes.

    The quantile is Student's t with ``count - 1`` degrees of freedom.
    """
    half = student(count - 1) * standard_error
    return mean - half, mean + half


@cache
def student(freedom: int) -> float:
    """The 97.5% quantile of Student's t: arctan(t / sqrt(freedom)) has a density of cos ** (freedom - 1)."""
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.cumsum(density[1:] + density[:-1])
    return math.sqrt(freedom) * math.tan(np.interp(0.95, below / below[-1], angles[1:]))
