"""Losses from the likelihoods of several particle filters, with their standard errors and biases."""

from __future__ import annotations

from math import inf, isfinite, log, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from n2n.oracle.filtering import mark_impossible_start
from n2n.utils.statistics import MeanInterval, student_quantile


class Estimate(NamedTuple):
    """Losses, nats, with their standard errors and biases; the fields of ``n2n.oracle.in_context.InContext``."""

    nll: Tensor
    standard_error: Tensor
    bias: Tensor
    log_likelihood: Tensor
    log_likelihood_standard_error: Tensor


def exact(nll: Tensor, log_likelihood: Tensor) -> Estimate:
    """Losses without error."""
    zeros = torch.zeros_like(nll)
    return Estimate(nll, zeros, zeros.clone(), log_likelihood, torch.zeros_like(log_likelihood))


def combine(evidence: Tensor, first: Tensor) -> Estimate:
    """Combine repeats: losses from mean likelihoods over repeats, with jackknife standard errors and biases.

    ``evidence`` is ``(batch, repeats, T - 1)``, each filter's log P(x_t | x_<t). ``first`` is log P(x_0), ``(batch,)``.
    """
    repeats = evidence.shape[1]
    running = torch.nn.functional.pad(evidence.cumsum(2), (1, 0))  # log L(t), t = 0 .. T - 1
    mean = running.logsumexp(1) - log(repeats)
    others = _without_each(running)
    without = others[..., :-1] - others[..., 1:]
    return Estimate(
        mark_impossible_start(_nats(mean[:, 1:] - mean[:, :-1]), first),
        _jackknife(without),
        (repeats - 1) * (without.mean(1) - (mean[:, :-1] - mean[:, 1:])),
        first + mean[:, -1],
        torch.fmax(_jackknife(others[..., -1]), _log_normal_error(running[..., -1])),
    )


def _log_normal_error(log_likelihood: Tensor) -> Tensor:
    """Standard error of the log of a mean likelihood, ``(batch,)``, if the repeats' likelihoods are log-normal.

    If their spread is large the largest repeat decides the mean, and a jackknife misses how much a larger one would
    change. It is nan if a repeat has no particles left.

    Source: Berard, Del Moral and Doucet, "A lognormal central limit theorem for particle approximations of normalizing
    constants", Electron. J. Probab. 19 (2014). The variance is that of the mean plus half the variance of the log.
    """
    repeats, variance = log_likelihood.shape[1], log_likelihood.var(1)
    return (variance / repeats + variance.square() / (2 * (repeats - 1))).sqrt()


def batch_mean(estimate: Estimate, repeats: int, *, dependent: bool = False) -> MeanInterval:
    """Mean of ``nll - bias`` over given sequences and tokens, with its Monte-Carlo error, nats per token.

    The standard error includes the mean of the estimated biases, because their estimates are uncertain. The degrees of
    freedom are Satterthwaite's, at least ``repeats - 1``. If the errors of sequences are ``dependent``, the standard
    error is the largest that they may have together, and there are ``repeats - 1`` degrees of freedom. Sequences of
    probability 0 make the mean infinite, and have no part in the error. It is infinite if that of a sequence is
    unknown.

    Source: Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics 2 (1946).
    """
    possible = estimate.log_likelihood > -inf
    tokens = estimate.nll.numel()
    losses = (estimate.nll - estimate.bias)[possible].sum().item()
    errors = estimate.log_likelihood_standard_error[possible].nan_to_num(nan=inf)
    variances = errors.square()
    total = (errors.sum().square() if dependent else variances.sum()).item()
    bias = estimate.bias[possible].sum().item()
    mean = losses / tokens if possible.all() else inf
    error = sqrt(total + bias**2) / tokens if isfinite(total + bias) else inf
    freedom = repeats - 1
    if 0 < total < inf and not dependent:
        freedom = max(freedom, int(freedom * total**2 / variances.square().sum().item()))
    half = student_quantile(freedom) * error
    return MeanInterval(mean, error, mean - half, mean + half)


def replaced(whole: Estimate, rows: Tensor, part: Estimate) -> Estimate:
    """The estimates of all sequences with those of ``rows (n,)`` replaced by ``part``."""
    return Estimate(*(old.index_copy(0, rows, new) for old, new in zip(whole, part, strict=True)))


def _nats(log_probability: Tensor) -> Tensor:
    """Minus a log probability, at least 0 despite rounding, and never -0."""
    return (-log_probability).clamp_min(0.0) + 0.0


def _without_each(running: Tensor) -> Tensor:
    """Log of the mean likelihood over all repeats except one, ``(batch, repeats, T)``.

    It is computed from partial sums from both ends. Subtracting one repeat from the total would cancel if that repeat
    dominates.
    """
    repeats = running.shape[1]
    none = torch.full_like(running[:, :1], -torch.inf)
    earlier = torch.cat([none, running[:, :-1].logcumsumexp(1)], 1)
    later = torch.cat([running[:, 1:].flip(1).logcumsumexp(1).flip(1), none], 1)
    return torch.logaddexp(earlier, later) - log(repeats - 1)


def _jackknife(values: Tensor) -> Tensor:
    """Jackknife standard error, from the estimates that leave out one repeat each, along axis 1.

    Source: Efron and Stein, "The jackknife estimate of variance", Ann. Stat. 9 (1981).
    """
    repeats = values.shape[1]
    return ((repeats - 1) * values.var(1, unbiased=False)).sqrt()
