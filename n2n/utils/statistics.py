"""Means and ratios with their standard errors, quantiles of Student's t, entropies."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Laws = TypeVar("Laws", np.ndarray, Tensor)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def ratio_error(numerators: np.ndarray, denominators: np.ndarray, ratio: float | np.ndarray) -> np.ndarray:
    """Standard error of ``ratio = sum(numerators) / sum(denominators)``.

    The sums run over the first axis, whose entries are independent sequences.

    Source: Cochran, "Sampling techniques" (1977), section 6.4 (the linearised ratio).
    """
    squares, count = ((numerators - ratio * denominators) ** 2).sum(axis=0), len(numerators)
    return np.sqrt(count / (count - 1) * squares) / denominators.sum(axis=0)


@cache
def student_quantile(freedom: int) -> float:
    """Two-sided 95% quantile (the 97.5% point) of Student's t with ``freedom`` degrees of freedom."""
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls; scipy.stats takes four times as long to import

    return float(stdtrit(freedom, 0.975))


class MeanInterval(NamedTuple):
    """A mean over independent sequences or processes, its standard error, and its 95% interval by Student's t."""

    mean: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(values: np.ndarray) -> MeanInterval:
    """Mean of ``values (n, ..)`` over independent sequences or processes, the first axis, with its ``t_interval``."""
    mean, error = mean_and_error(values)
    return MeanInterval(mean, error, *t_interval(mean, error, len(values)))


def t_interval(mean: np.ndarray, standard_error: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the two-sided 95% interval of a mean over ``count`` independent sequences or processes.

    The quantile is Student's t with ``count - 1`` degrees of freedom.
    """
    half = student_quantile(count - 1) * standard_error
    return mean - half, mean + half


def entropy_of(laws: Laws) -> Laws:
    """Entropy of each distribution along the last axis, nats; an array or a tensor, as ``laws`` is.

    Rounding may leave probabilities just below 0, which count as 0; a certain outcome has entropy 0, not -0.
    """
    if isinstance(laws, np.ndarray):
        from scipy.special import entr
    else:
        from torch.special import entr
    return entr(laws.clip(0.0)).sum(-1).clip(0.0) + 0.0
