"""The in-context oracle, which knows the graph but must learn the kernels that are redrawn for every sequence."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.checks import MEMORY_BUDGET, check_latents, check_tokens
from n2n.oracle.compiled import particle_program
from n2n.oracle.compiled.particles import count_sequences, filter_particles
from n2n.oracle.filtering import filter, mark_impossible_start, sequence_log_likelihood
from n2n.oracle.kernel_counts import places
from n2n.oracle.particle_filter import Cloud, Streams, bytes_of_tables, bytes_per_filter
from n2n.process.process import Process
from n2n.utils.progress import track
from n2n.utils.strict import as_integer
from n2n.utils.threads import torch_threads

MAX_PARTICLES, MAX_REPEATS = 2**20, 2**12


@dataclass(frozen=True, eq=False)
class InContext:
    """Losses of the Bayes-optimal predictor that knows the graph but not the kernels redrawn for a sequence.

    Attributes:
        nll: ``(batch, T - 1)``, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. It is infinite at a token that the
            process cannot emit and nan after it. If the process cannot emit x_0, it is infinite at t = 1.
        standard_error: ``(batch, T - 1)``, standard error of ``nll``, nats. It is 0 if ``exact``, and nan if fewer than
            two repeats have particles left.
        bias: ``(batch, T - 1)``, jackknife estimate of the bias of ``nll``, nats: a mean of ``nll - bias`` over many
            sequences is closer to the truth, because the logarithm of an unbiased likelihood is too small on average.
            It is 0 if ``exact``, and nan after a token that the process cannot emit.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats. It equals ``log P(x_0)`` minus the sum of
            ``nll``.
        log_likelihood_standard_error: ``(batch,)``, standard error of ``log_likelihood``, nats. The errors of tokens
            are dependent, so it does not follow from ``standard_error``. The standard errors are reliable where it is
            well below 1.
        exact: whether the values come from a closed form or an exact filter rather than an estimate.
        effective_sample_size: ``(batch, T - 1)``, effective sample size of the particles after the token, the mean over
            repeats; None if ``exact``.
    """

    nll: Tensor
    standard_error: Tensor
    bias: Tensor
    log_likelihood: Tensor
    log_likelihood_standard_error: Tensor
    exact: bool
    effective_sample_size: Tensor | None


@torch_threads(1)
def in_context_nll(
    process: Process,
    tokens,
    *,
    particles: int = 1024,
    repeats: int = 8,
    seed: int = 0,
    memory_budget: int = MEMORY_BUDGET,
) -> InContext:
    """Compute the loss of the Bayes-optimal in-context learner, which learns context nodes' kernels from past tokens.

    With a single joint latent state this is add-alpha smoothing of the sequence's own counts, exactly. Otherwise
    ``repeats`` independent particle filters with conjugate counts marginalise the latent paths. Each filter gives
    unbiased likelihoods L(t) of the tokens up to t, and ``nll`` at t is log mean L(t - 1) - log mean L(t) with means
    over repeats. Standard errors are jackknife estimates over repeats. If there is no kernel to learn, the result is
    that of ``n2n.filter``.

    On a CPU the filters run compiled, on all cores. The first call compiles them, which takes about ten seconds; the
    machine code is cached on disk for other processes. On other devices they run in torch.

    A repeat costs O(particles * S) a token for S joint latent states. In long sequences the surviving particles share
    their past, and the estimate degrades: check ``log_likelihood_standard_error``, and raise ``particles`` where it
    approaches 1.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2, as for ``n2n.filter``. If this is a tensor, the computation runs
            on its device, in float64.
        particles: number of particles of each filter.
        repeats: number of independent filters for each sequence, at least 2, as the standard errors need.
        seed: seed of the filters' random numbers, which are a pure function of (seed, position in the batch, repeat):
            neither the split of the batch, its other sequences nor the number of threads change a sequence's result.
        memory_budget: bytes. The batch is split to stay within it; the results need memory in addition.

    Raises:
        ValueError: if a context node with ``kernel="product"`` sees several variables (its rows have no conjugate
            prior), ``n2n.filter`` rejects the tokens, a number is not whole or is out of range, or the filter of one
            sequence exceeds the budget.

    Source: Andrieu, Doucet and Holenstein, "Particle Markov chain Monte Carlo methods", J. R. Stat. Soc. B 72 (2010),
    for the unbiased likelihood; ``n2n.oracle.particle_filter`` for the filter.
    """
    tokens = check_tokens(process, tokens)
    graph = process.graph
    _check_kernels(graph)
    particles = as_integer("particles", particles, 1, MAX_PARTICLES)
    repeats = as_integer("repeats", repeats, 2, MAX_REPEATS)
    seed = as_integer("seed", seed, 0, 2**63 - 1)
    learned = [node for node in graph.context_nodes if node.num_states > 1]
    if not learned:  # a node of one state has one kernel, so all sequences share it
        filtered = filter(process.of_sequence(0), tokens, memory_budget=memory_budget)
        return _exact(filtered.nll, filtered.log_likelihood)
    first = _log_first(process, tokens)
    if graph.num_joint_states == 1 and not any(node.stickiness for node in learned):
        nll = mark_impossible_start(_count_nll(process, tokens, memory_budget), first)
        return _exact(nll, sequence_log_likelihood(first - nll.sum(1)))
    return _estimate(*_run_filters(process, tokens, particles, repeats, seed, memory_budget), first)


def _check_kernels(graph: Graph) -> None:
    for node in graph.context_nodes:
        variables = len(graph.sizes_seen(node))
        if node.kernel == "product" and variables > 1:
            raise ValueError(
                f"{node.name}: saw kernel 'product' over {variables} variables in mode 'context'; its rows have no "
                "conjugate prior, so kernel='full' is needed"
            )


def _log_first(process: Process, tokens: Tensor) -> Tensor:
    """log P(x_0) of each sequence, ``(batch,)``."""
    law = process.first_token_law
    if law is None:
        return torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    return torch.from_numpy(law).log().to(tokens.device)[tokens[:, 0]]


def _exact(nll: Tensor, log_likelihood: Tensor) -> InContext:
    zeros = torch.zeros_like(nll)
    return InContext(nll, zeros, zeros.clone(), log_likelihood, torch.zeros_like(log_likelihood), True, None)


def _count_nll(process: Process, tokens: Tensor, memory_budget: int) -> Tensor:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)``, if nothing is hidden: one particle without random numbers."""
    if tokens.device.type != "cpu":
        return _nats(run_torch(process, tokens, 1, 1, 0, memory_budget)[0][:, 0])
    graph = process.graph
    cells = graph.kernel_size(graph.observed)
    _check_budget(graph, 1, 4 * (cells + cells // graph.vocab_size), memory_budget)
    return _nats(torch.from_numpy(count_sequences(graph, tokens.numpy())).log_())


def _run_filters(
    process: Process, tokens: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """Each filter's log P(x_t | x_<t), and effective sample sizes, both ``(batch, repeats, T - 1)``."""
    check_latents(process.graph)
    run = _run_compiled if tokens.device.type == "cpu" else run_torch
    return run(process, tokens, particles, repeats, seed, memory_budget)


def _run_compiled(
    process: Process, tokens: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    graph = process.graph
    shared = particle_program.bytes_of_program(graph)
    each = particle_program.bytes_per_filter(graph, particles, tokens.shape[1])
    _check_budget(graph, particles, shared + each, memory_budget)
    evidence, sample_sizes = filter_particles(process, tokens.numpy(), particles, repeats, seed, memory_budget)
    return torch.from_numpy(evidence).log_(), torch.from_numpy(sample_sizes)


def run_torch(
    process: Process, tokens: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """The filters in torch, on the tokens' device; see ``_run_filters``."""
    at_once = _filters_at_once(process.graph, particles, memory_budget)
    kernel_places = places(process, tokens.device)
    filters = torch.cartesian_prod(torch.arange(len(tokens)), torch.arange(repeats))
    parts = []
    for part in track(filters.split(at_once), "part"):
        streams = Streams(seed, part, particles) if repeats > 1 else None  # a single repeat is exact and draws nothing
        cloud = Cloud(process.graph, kernel_places, len(part), particles, streams)
        parts.append(_run(cloud, tokens[part[:, 0].to(tokens.device)]))
    shape = (len(tokens), repeats, -1)
    evidence, sample_sizes = zip(*parts, strict=True)
    return torch.cat(evidence).view(shape), torch.cat(sample_sizes).view(shape)


def _run(cloud: Cloud, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log P(x_t | x_<t) and effective sample sizes, ``(filters, T - 1)``, one filter for each row of ``tokens``."""
    cloud.start(tokens[:, 0])
    steps = [cloud.step(before, token) for before, token in pairwise(tokens.T)]
    evidence, sample_sizes = zip(*steps, strict=True)
    return torch.stack(evidence, 1), torch.stack(sample_sizes, 1)


def _filters_at_once(graph: Graph, particles: int, memory_budget: int) -> int:
    """Number of filters in torch that fit into the memory budget."""
    shared, each = bytes_of_tables(graph), bytes_per_filter(graph, particles)
    _check_budget(graph, particles, shared + each, memory_budget)
    return (memory_budget - shared) // each


def _check_budget(graph: Graph, particles: int, needed: int, memory_budget: int) -> None:
    if needed > memory_budget:
        raise ValueError(
            f"memory_budget: {particles} particles over {graph.num_joint_states} joint states need {needed} "
            f"bytes for one sequence, more than the budget of {memory_budget}; raise it, use fewer particles, or fewer "
            "or smaller nodes"
        )


def _estimate(evidence: Tensor, sample_size: Tensor, first: Tensor) -> InContext:
    """Combine repeats: losses from mean likelihoods over repeats, with jackknife standard errors and biases.

    ``evidence`` and ``sample_size`` are ``(batch, repeats, T - 1)``. ``first`` is log P(x_0), ``(batch,)``.
    """
    repeats = evidence.shape[1]
    running = torch.nn.functional.pad(evidence.cumsum(2), (1, 0))  # log L(t), t = 0 .. T - 1
    mean = running.logsumexp(1) - log(repeats)
    others = _without_each(running)
    without = others[..., :-1] - others[..., 1:]
    return InContext(
        mark_impossible_start(_nats(mean[:, 1:] - mean[:, :-1]), first),
        _jackknife(without),
        (repeats - 1) * (without.mean(1) - (mean[:, :-1] - mean[:, 1:])),
        first + mean[:, -1],
        _jackknife(others[..., -1]),
        False,
        sample_size.mean(1),
    )


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
