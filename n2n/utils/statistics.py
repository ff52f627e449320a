"""Means with their standard errors, ratios, and quantiles of normal and Student's t."""

from __future__ import annotations

import math
from functools import cache

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


@cache
def student(freedom: int) -> float:
    """The 97.5% quantile of Student's t: arctan(t / sqrt(freedom)) has a density of cos ** (freedom - 1)."""
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.cumsum(density[1:] + density[:-1])
    return math.sqrt(freedom) * math.tan(np.interp(0.95, below / below[-1], angles[1:]))
