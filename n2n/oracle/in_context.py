"""The in-context oracle: the best predictor that knows the graph but must learn the kernels redrawn for a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.oracle.checks import MEMORY_BUDGET, check_tokens
from n2n.oracle.filtering import filter, mark_impossible_start, sequence_log_likelihood
from n2n.oracle.kernel_counts import places
from n2n.oracle.particle_filter import Cloud, Streams, bytes_of_tables, bytes_per_filter
from n2n.process.einsums import MAX_LATENTS
from n2n.process.process import Process
from n2n.utils.progress import track
from n2n.utils.strict import as_integer
from n2n.utils.threads import torch_threads

MAX_PARTICLES, MAX_REPEATS = 2**20, 2**12
_CACHE = 2**23  # bytes of laws worked on at once by a CPU, so that they stay near it


@dataclass(frozen=True, eq=False)
class InContext:
    """What a Bayesian who knows the graph, but not the kernels redrawn for a sequence, says of each token.

    Attributes:
        nll: ``(batch, T - 1)``, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. Infinite at a token that the process
            cannot emit, and nan after it; infinite at t = 1 if it cannot emit x_0.
        standard_error: ``(batch, T - 1)``, that of ``nll``, nats: 0 where it is exact, nan where fewer than two repeats
            have particles left.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats; less the first token's part, it is minus the
            sum of ``nll``.
        log_likelihood_se: ``(batch,)``, its standard error, nats. Tokens' errors depend on one another, so that it does
            not follow from theirs. The errors deserve trust where it is well under 1.
        exact: whether this is a closed form or an exact filter, and no estimate.
        effective_sample_size: ``(batch, T - 1)``, of a filter's particles once they saw the token, the mean over
            repeats; None where ``exact``.
    """

    nll: Tensor
    standard_error: Tensor
    log_likelihood: Tensor
    log_likelihood_se: Tensor
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
    """The loss of the Bayes-optimal in-context learner: kernels of context nodes are learned from the tokens seen.

    With a single joint latent state this is add-alpha smoothing of the sequence's own counts, exactly. Otherwise the
    latent paths are summed over by ``repeats`` independent particle filters with conjugate counts. Each gives unbiased
    likelihoods L(t) of the first tokens, and ``nll`` at t is log mean L(t - 1) - log mean L(t), means over repeats;
    standard errors are the jackknife's over repeats. Where no kernel is left to learn, it is ``n2n.filter``'s.

    A repeat costs O(particles * S) a token, S joint latent states. Long sequences wear out the particles, since all
    that remain come to share their past: watch ``log_likelihood_se``, and raise ``particles`` where it nears 1.

    Args:
        process: the process that the tokens are judged by.
        tokens: ``(batch, T)`` integers, T at least 2, as for ``n2n.filter``. A tensor's device is where the work is
            done, in float64.
        particles: of each filter.
        repeats: independent filters for each sequence, at least 2, or there would be no error to tell.
        seed: names the filters' random numbers, which are a pure function of (seed, place in the batch, repeat): no
            cut of the batch, and no other sequence in it, changes a sequence's.
        memory_budget: bytes, inside which the batch is cut; what is returned comes on top.

    Raises:
        ValueError: a context node with ``kernel="product"`` that sees several variables (its rows have no conjugate
            law), tokens that ``n2n.filter`` refuses, numbers that are not whole or out of range, or one sequence's
            filter that exceeds the budget.

    Source: Andrieu, Doucet and Holenstein, "Particle Markov chain Monte Carlo methods", J. R. Stat. Soc. B 72 (2010),
    for the unbiased likelihood; ``n2n.oracle.particle_filter`` for the filter.
    """
    tokens = check_tokens(process, tokens)
    graph = process.graph
    _refuse_products(graph)
    particles = as_integer("particles", particles, 1, MAX_PARTICLES)
    repeats = as_integer("repeats", repeats, 2, MAX_REPEATS)
    seed = as_integer("seed", seed, 0, 2**63 - 1)
    learned = [node for node in graph.context_nodes if node.num_states > 1]
    if not learned:  # a node of one state has one kernel, so any sequence's will do
        found = filter(process.of_sequence(0), tokens, memory_budget=memory_budget)
        return _exact(found.nll, found.log_likelihood)
    first = _first(process, tokens)
    if graph.num_joint_states == 1 and not any(node.stickiness for node in learned):
        nll = mark_impossible_start(_counted(process, tokens, memory_budget), first)
        return _exact(nll, sequence_log_likelihood(first - nll.sum(1)))
    return _estimate(*_filtered(process, tokens, particles, repeats, seed, memory_budget), first)


def _refuse_products(graph: Graph) -> None:
    for node in graph.context_nodes:
        seen = len(graph.sizes_seen(node))
        if node.kernel == "product" and seen > 1:
            raise ValueError(
                f"{node.name}: saw kernel 'product' over {seen} variables in mode 'context'; its rows have no "
                "conjugate law, so kernel='full' is needed"
            )


def _first(process: Process, tokens: Tensor) -> Tensor:
    """log P(x_0) of each sequence, ``(batch,)``."""
    law = process.first_token_law
    if law is None:
        return torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    return torch.from_numpy(law).log().to(tokens.device)[tokens[:, 0]]


def _exact(nll: Tensor, log_likelihood: Tensor) -> InContext:
    return InContext(nll, torch.zeros_like(nll), log_likelihood, torch.zeros_like(log_likelihood), True, None)


def _counted(process: Process, tokens: Tensor, memory_budget: int) -> Tensor:
    """``-log P(x_t | x_<t)``, ``(batch, T - 1)``, where nothing is hidden: all particles would be the same one."""
    at_once = _filters_at_once(process.graph, 1, tokens.device, memory_budget)
    laid_out = places(process, tokens.device)
    parts = [_run(Cloud(process.graph, laid_out, len(part), 1, None), part) for part in tokens.split(at_once)]
    return _nats(torch.cat([evidence for evidence, _ in parts]))


def _filtered(
    process: Process, tokens: Tensor, particles: int, repeats: int, seed: int, memory_budget: int
) -> tuple[Tensor, Tensor]:
    """log P(x_t | x_<t) as each filter has it, and effective sample sizes, both ``(batch, repeats, T - 1)``."""
    at_once = _filters_at_once(process.graph, particles, tokens.device, memory_budget)
    laid_out = places(process, tokens.device)
    filters = torch.cartesian_prod(torch.arange(len(tokens)), torch.arange(repeats))
    parts = []
    for part in track(filters.split(at_once), "part"):
        cloud = Cloud(process.graph, laid_out, len(part), particles, Streams(seed, part, particles))
        parts.append(_run(cloud, tokens[part[:, 0].to(tokens.device)]))
    shape = (len(tokens), repeats, -1)
    evidence, sample_sizes = zip(*parts, strict=True)
    return torch.cat(evidence).view(shape), torch.cat(sample_sizes).view(shape)


def _run(cloud: Cloud, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log P(x_t | x_<t) and effective sample sizes, ``(filters, T - 1)``, for a filter on each of ``tokens``."""
    cloud.start(tokens[:, 0])
    steps = [cloud.step(before, token) for before, token in pairwise(tokens.T)]
    evidence, sample_sizes = zip(*steps, strict=True)
    return torch.stack(evidence, 1), torch.stack(sample_sizes, 1)


def _filters_at_once(graph: Graph, particles: int, device: torch.device, memory_budget: int) -> int:
    """As many filters as the budget bears, and on a CPU no more than its cache holds."""
    if len(graph.latents) > MAX_LATENTS:
        raise ValueError(f"graph: saw {len(graph.latents)} latent nodes; at most {MAX_LATENTS} are supported")
    shared, each = bytes_of_tables(graph), bytes_per_filter(graph, particles)
    if shared + each > memory_budget:
        raise ValueError(
            f"memory_budget: {particles} particles over {graph.num_joint_states} joint states need {shared + each} "
            f"bytes for one sequence, more than the budget of {memory_budget}; raise it, use fewer particles, or fewer "
            "or smaller nodes"
        )
    most = (memory_budget - shared) // each
    if device.type != "cpu":
        return most
    return min(most, max(1, _CACHE // (8 * particles * graph.num_joint_states)))


def _estimate(evidence: Tensor, sample_size: Tensor, first: Tensor) -> InContext:
    """Means over repeats of the likelihoods, and the jackknife's errors, from ``(batch, repeats, T - 1)``.

    ``first`` is log P(x_0), ``(batch,)``.
    """
    repeats = evidence.shape[1]
    running = torch.nn.functional.pad(evidence.cumsum(2), (1, 0))  # log L(t), t = 0 .. T - 1
    mean = running.logsumexp(1) - log(repeats)
    others = _without_each(running)
    return InContext(
        mark_impossible_start(_nats(mean[:, 1:] - mean[:, :-1]), first),
        _jackknife(others[..., :-1] - others[..., 1:]),
        first + mean[:, -1],
        _jackknife(others[..., -1]),
        False,
        sample_size.mean(1),
    )


def _nats(log_probability: Tensor) -> Tensor:
    """What a probability costs: from 0 on, and never -0, where rounding would leave it below."""
    return (-log_probability).clamp_min(0.0) + 0.0


def _without_each(running: Tensor) -> Tensor:
    """The logarithm of the mean likelihood of all repeats but each, ``(batch, repeats, T)``.

    By sums from both ends: a repeat that outweighs the others by far would cancel in a difference.
    """
    repeats = running.shape[1]
    none = torch.full_like(running[:, :1], -torch.inf)
    earlier = torch.cat([none, running[:, :-1].logcumsumexp(1)], 1)
    later = torch.cat([running[:, 1:].flip(1).logcumsumexp(1).flip(1), none], 1)
    return torch.logaddexp(earlier, later) - log(repeats - 1)


def _jackknife(values: Tensor) -> Tensor:
    """The standard error of an estimate, from those that leave out one repeat each, along axis 1.

    Source: Efron and Stein, "The jackknife estimate of variance", Ann. Stat. 9 (1981).
    """
    repeats = values.shape[1]
    return ((repeats - 1) * values.var(1, unbiased=False)).sqrt()
