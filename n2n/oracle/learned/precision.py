"""Estimates by particle filters, with as many particles as a precision of the mean loss takes."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.learned.estimates import Estimate, batch_mean, combine, replaced
from n2n.oracle.learned.filters import bytes_of_filter, run_filters
from n2n.oracle.learned.importance import run_draws
from n2n.process.process import Process
from n2n.utils.philox import derive_key

MAX_GROWTH = 8  # of the number of particles from one round to the next; its error is only estimated


@dataclass(frozen=True)
class Effort:
    """How many particle filters to run.

    Attributes:
        particles: number of particles of each filter, in the first round if there is a precision.
        repeats: number of filters for each sequence.
        seed: seed of the random numbers.
        memory_budget: bytes.
        precision: standard error of the batch's mean loss to reach, nats per token; None for a single round.
        max_particles: largest number of particles in later rounds.
        draws: whether to draw kernels from their prior instead: a particle then stands for a kernel set, the sequences
            have the same sets, and their errors are dependent.
    """

    particles: int
    repeats: int
    seed: int
    memory_budget: int
    precision: float | None
    max_particles: int
    draws: bool = False


class Estimated(NamedTuple):
    """The last round's estimate, effective sample sizes ``(batch, T - 1)``, and number of particles."""

    estimate: Estimate
    sample_sizes: Tensor
    particles: int


def estimate_rows(
    process: Process, tokens: Tensor, rows: Tensor, first: Tensor, exact: Estimate, effort: Effort
) -> Estimated:
    """Estimate the losses of the sequences ``rows``, and add them to the ``exact`` ones of the others.

    Rounds have independent random numbers, and the last one counts. If the precision cannot be reached, a warning says
    what was. ``first (batch,)`` is log P(x_0).
    """
    particles, seed, run = effort.particles, effort.seed, run_draws if effort.draws else run_filters
    while True:
        evidence, sizes = run(process, tokens, rows, particles, effort.repeats, seed, effort.memory_budget)
        whole = replaced(exact, rows, combine(evidence, first[rows]))
        error = batch_mean(whole, effort.repeats, dependent=effort.draws).standard_error
        more = _more_particles(process.graph, tokens, particles, error, effort)
        if more == particles:
            sample_sizes = torch.full_like(exact.nll, torch.nan).index_copy_(0, rows, sizes.mean(1))
            return Estimated(whole, sample_sizes, particles)
        particles, seed = more, _seed_of(effort.seed, more)


def _more_particles(graph: Graph, tokens: Tensor, particles: int, error: float, effort: Effort) -> int:
    """The number of particles of the next round; the same number if the precision is, or cannot be, reached."""
    if effort.precision is None or error <= effort.precision:
        return particles
    factor = min(MAX_GROWTH, (error / effort.precision) ** 2)
    more = particles * 2 ** max(1, math.ceil(math.log2(factor)))
    while more > particles and (more > effort.max_particles or not _fits(graph, tokens, more, effort)):
        more //= 2
    if more <= particles:
        limit = f"max_particles = {effort.max_particles} and memory_budget = {effort.memory_budget} allow no more"
        warnings.warn(
            f"precision: {particles} particles give a standard error of {error:.2g} nats per token, not "
            f"{effort.precision:g}; {limit}",
            RuntimeWarning,
            stacklevel=5,
        )
    return max(more, particles)


def _fits(graph: Graph, tokens: Tensor, particles: int, effort: Effort) -> bool:
    return effort.draws or bytes_of_filter(graph, particles, tokens) <= effort.memory_budget


def _seed_of(seed: int, particles: int) -> int:
    low, high = derive_key("particles", seed, particles)
    return int(low) + 2**32 * (int(high) % 2**31)
