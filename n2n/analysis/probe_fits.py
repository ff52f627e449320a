"""Fits of linear probes: fitted on some sequences, judged on others, with intervals over the judged sequences."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from n2n.utils.arrays import reals

RESAMPLES = 1000  # resamples of the judged sequences for an interval
PENALTY = 1e-5  # half of this times the squared weights is added to the mean cross-entropy, in nats
ITERATIONS = 150  # maximum for L-BFGS
MIN_SPREAD = 1e-9  # root mean square deviation of targets that vary


class Parts(NamedTuple):
    """Arrays ``(sequences, positions, features)`` of the fitted and the judged sequences."""

    fitted: np.ndarray
    judged: np.ndarray


class Interval(NamedTuple):
    """A number and its 95% interval: percentiles over resampled judged sequences. Resamples share one fit."""

    value: float
    low: float
    high: float


def regress(features: Parts, targets: Parts) -> np.ndarray:
    """Predict targets on the judged sequences by least squares with an intercept, ``(sequences, positions, n)``.

    If features are linearly dependent, the weights are those of the smallest norm. numpy's solver is enough:
    scikit-learn's ``LinearRegression`` gives the same predictions to 1e-12.
    """
    x, x_judged = (_with_intercept(part) for part in _standardised(features))
    y = targets.fitted.reshape(len(x), -1)
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    return (x_judged @ weights).reshape(targets.judged.shape)


def explained(predicted: np.ndarray, targets: Parts) -> Interval:
    """R^2 over all values together: 1 - squared error / squared distance to the mean of the fitted sequences.

    It is nan if the targets vary by less than 1e-9 on average, which is rounding.
    """
    error = ((targets.judged - predicted) ** 2).sum((1, 2))
    spread = ((targets.judged - targets.fitted.mean((0, 1))) ** 2).sum((1, 2))
    if spread.sum() < MIN_SPREAD**2 * targets.judged.size:
        return Interval(math.nan, math.nan, math.nan)
    return _ratio(spread - error, spread)


def classify(features: Parts, laws: dict[str, Parts]) -> dict[str, np.ndarray]:
    """Predict distributions on the judged sequences by a softmax of a linear map, fitted to soft labels.

    L-BFGS minimises the mean cross-entropy for all names at once. A penalty keeps weights finite if labels are certain
    and linearly separable. scikit-learn's ``LogisticRegression`` takes no soft labels: it would need a weighted copy of
    the data for each state, which took 17 times as long for 16 states and 77 times as long for 64 (12,600 samples of 64
    features, one thread).

    Args:
        features: features of both parts.
        laws: distributions of both parts by name; the last axis sums to 1.
    """
    x, x_judged = (torch.from_numpy(_with_intercept(part)) for part in _standardised(features))
    sizes = [part.fitted.shape[-1] for part in laws.values()]
    labels = [torch.from_numpy(np.array(part.fitted).reshape(len(x), -1)) for part in laws.values()]
    logits = (x_judged @ _softmax_weights(x, labels, sizes)).split(sizes, 1)
    return {
        name: part.softmax(1).numpy().reshape(law.judged.shape)
        for (name, law), part in zip(laws.items(), logits, strict=True)
    }


def divergence(predicted: np.ndarray, laws: np.ndarray) -> Interval:
    """KL(law || predicted), the mean over sequences and positions, nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(laws > 0, laws * (np.log(laws) - np.log(predicted)), 0.0)
    by_position = terms.sum(2)  # (sequences, positions)
    return _ratio(by_position.sum(1), np.full(len(by_position), by_position.shape[1], float))


def _softmax_weights(x: Tensor, labels: list[Tensor], sizes: list[int]) -> Tensor:
    weights = torch.zeros(x.shape[1], sum(sizes), dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        parts = zip((x @ weights).split(sizes, 1), labels, strict=True)
        cross_entropy = sum(-(label * part.log_softmax(1)).sum(1).mean() for part, label in parts)
        total = cross_entropy + PENALTY / 2 * weights[1:].square().sum()
        total.backward()
        return total

    solver.step(loss)
    return weights.detach()


def _standardised(features: Parts) -> Parts:
    """``(samples, features)`` of both parts, with mean 0 and variance 1 over the fitted part."""
    arrays = (reals(part, "features") for part in features)
    fitted, judged = (part.reshape(-1, part.shape[-1]).astype(np.float64) for part in arrays)
    mean, spread = fitted.mean(0), fitted.std(0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    return Parts((fitted - mean) / spread, (judged - mean) / spread)


def _with_intercept(features: np.ndarray) -> np.ndarray:
    return np.hstack([np.ones((len(features), 1)), features])


def _ratio(numerators: np.ndarray, denominators: np.ndarray) -> Interval:
    """The ratio of two sums over sequences, ``(sequences,)`` each."""
    rng, count = np.random.default_rng(0), len(numerators)
    times = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = numerators.sum() / denominators.sum()
        resampled = (times @ numerators) / (times @ denominators)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
