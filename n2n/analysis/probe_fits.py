"""What a linear probe is: fitted on some sequences, judged on others, with an interval over those."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from n2n.utils.arrays import reals

RESAMPLES = 1000  # of the judged sequences, for an interval
PENALTY = 1e-5  # half of it times the squared weights is added to the mean cross-entropy, in nats
ITERATIONS = 150  # of L-BFGS, at most
MIN_SPREAD = 1e-9  # root mean square of what is explained


class Parts(NamedTuple):
    """Arrays ``(sequences, positions, features)`` of the sequences that are fitted on, and of those judged on."""

    fitted: np.ndarray
    judged: np.ndarray


class Interval(NamedTuple):
    """A number and its 95% interval: percentiles over resampled judged sequences; the fit stays as it is."""

    value: float
    low: float
    high: float


def regress(features: Parts, targets: Parts) -> np.ndarray:
    """Least squares with an intercept: the targets' values on the judged sequences, ``(sequences, positions, n)``.

    Where features are linearly dependent, the solution of the smallest weights.
    """
    x, x_judged = (_with_one(part) for part in _standardised(features))
    y = targets.fitted.reshape(len(x), -1)
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    return (x_judged @ weights).reshape(targets.judged.shape)


def explained(predicted: np.ndarray, targets: Parts) -> Interval:
    """R^2 over all values together: 1 - squared error / squared distance to the mean of the fitted sequences.

    It is nan where the targets do not vary, but by rounding: by less than 1e-9 on average.
    """
    error = ((targets.judged - predicted) ** 2).sum((1, 2))
    spread = ((targets.judged - targets.fitted.mean((0, 1))) ** 2).sum((1, 2))
    if spread.sum() < MIN_SPREAD**2 * targets.judged.size:
        return Interval(math.nan, math.nan, math.nan)
    return _ratio(spread - error, spread)


def classify(features: Parts, laws: dict[str, Parts]) -> dict[str, np.ndarray]:
    """A softmax of a linear map for each name, fitted to soft labels: laws on the judged sequences.

    It minimises the mean cross-entropy, by L-BFGS, with a penalty on the weights that keeps them finite where the
    labels are certain and can be told apart.
    """
    x, x_judged = (torch.from_numpy(_with_one(part)) for part in _standardised(features))
    names, sizes = list(laws), [part.fitted.shape[-1] for part in laws.values()]
    labels = [torch.from_numpy(np.array(part.fitted).reshape(len(x), -1)) for part in laws.values()]
    weights = _minimised(x, labels, sizes)
    logits = (x_judged @ weights).split(sizes, 1)
    found = [part.softmax(1).numpy() for part in logits]
    return {name: law.reshape(laws[name].judged.shape) for name, law in zip(names, found, strict=True)}


def divergence(predicted: np.ndarray, laws: np.ndarray) -> Interval:
    """KL(law || predicted), mean over sequences and positions, nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(laws > 0, laws * (np.log(laws) - np.log(predicted)), 0.0)
    each = terms.sum(2)  # (sequences, positions)
    return _ratio(each.sum(1), np.full(len(each), each.shape[1], float))


def _minimised(x: Tensor, labels: list[Tensor], sizes: list[int]) -> Tensor:
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
    """Each feature with mean 0 and variance 1 over what is fitted on; ``(samples, features)`` of both parts."""
    given = (reals(part, "features") for part in features)
    fitted, judged = (part.reshape(-1, part.shape[-1]).astype(np.float64) for part in given)
    mean, spread = fitted.mean(0), fitted.std(0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    return Parts((fitted - mean) / spread, (judged - mean) / spread)


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.hstack([np.ones((len(features), 1)), features])


def _ratio(above: np.ndarray, below: np.ndarray) -> Interval:
    """The ratio of two sums over sequences, ``(sequences,)`` each."""
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(above), np.full(len(above), 1 / len(above)), size=RESAMPLES)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, resampled = above.sum() / below.sum(), (times @ above) / (times @ below)
    return Interval(float(value), *(float(part) for part in np.quantile(resampled, [0.025, 0.975])))
