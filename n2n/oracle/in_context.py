"""The in-context oracle, which knows the graph but must learn the kernels that are redrawn for every sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from n2n.oracle.checks import MEMORY_BUDGET, check_latents, check_tokens
from n2n.oracle.filtering import filter, log_first, mark_impossible_start, sequence_log_likelihood
from n2n.oracle.learned.estimates import Estimate, batch_mean, exact
from n2n.oracle.learned.exact import count_nll, hypotheses_nll
from n2n.oracle.learned.importance import check_draws
from n2n.oracle.learned.precision import Effort, estimate_rows
from n2n.oracle.learned.refusals import check_pool, product_message
from n2n.oracle.mixture import running_mixture
from n2n.process.process import Process
from n2n.utils.progress import track
from n2n.utils.statistics import MeanInterval
from n2n.utils.strict import as_integer, as_positive
from n2n.utils.threads import torch_threads

Method = Literal["filter", "counts", "enumeration", "mixture", "particles", "importance"]
MAX_PARTICLES, MAX_REPEATS, MAX_HYPOTHESES = 2**20, 2**12, 2**24


@dataclass(frozen=True, eq=False)
class InContext:
    """Losses of the Bayes-optimal predictor that knows the graph but not the kernels redrawn for a sequence.

    Attributes:
        nll: ``(batch, T - 1)``, ``-log P(x_t | x_<t)`` for t = 1 .. T - 1, nats. It is infinite at a token that the
            process cannot emit and nan after it. If the process cannot emit x_0, it is infinite at t = 1.
        standard_error: ``(batch, T - 1)``, standard error of ``nll``, nats. It is 0 for exact sequences, and nan if
            fewer than two repeats have particles left.
        bias: ``(batch, T - 1)``, jackknife estimate of the bias of ``nll``, nats: a mean of ``nll - bias`` over many
            sequences is closer to the truth, because the logarithm of an unbiased likelihood is too small on average.
            It is 0 for exact sequences, and nan after a token that the process cannot emit.
        log_likelihood: ``(batch,)``, ``log P(x_0, .., x_{T-1})``, nats. It equals ``log P(x_0)`` minus the sum of
            ``nll``.
        log_likelihood_standard_error: ``(batch,)``, standard error of ``log_likelihood``, nats. The errors of tokens
            are dependent, so it does not follow from ``standard_error``. Its degrees of freedom are ``repeats - 1``. It
            is reliable where it is well below 1.
        effective_sample_size: ``(batch, T - 1)``, effective sample size of the particles after the token, the mean over
            repeats; nan for exact sequences, and None if all are exact.
        exact_sequences: ``(batch,)`` bool, the sequences whose values are exact rather than estimated.
        method: how the values were computed. ``"filter"``: by ``n2n.filter``, as there is no kernel to learn.
            ``"counts"``: from the counts of the tokens, as nothing is hidden. ``"enumeration"``: as a sum over all
            latent paths that merges those with equal counts. ``"mixture"``: from the filter for each kernel set of the
            graph's pool. ``"particles"``: at least one sequence has too many of
            those, and was estimated by particle filters. ``"importance"``: with kernels drawn from their prior.
        particles: number of particles of each filter, or of draws in each repeat; None if all sequences are exact.
        repeats: number of filters for each sequence; None if all are exact.
    """

    nll: Tensor
    standard_error: Tensor
    bias: Tensor
    log_likelihood: Tensor
    log_likelihood_standard_error: Tensor
    effective_sample_size: Tensor | None
    exact_sequences: Tensor
    method: Method
    particles: int | None
    repeats: int | None

    @property
    def exact(self) -> bool:
        """Whether the values of all sequences are exact."""
        return bool(self.exact_sequences.all())

    @property
    def mean_loss(self) -> MeanInterval:
        """Mean of ``nll - bias`` over sequences and tokens, nats per token, with standard error and 95% interval.

        The error is the Monte-Carlo error for these sequences. It is 0 if all are exact. A ``precision`` is reached if
        ``mean_loss.standard_error`` is no larger.
        """
        values = Estimate(
            self.nll, self.standard_error, self.bias, self.log_likelihood, self.log_likelihood_standard_error
        )
        return batch_mean(values, self.repeats or 2, dependent=self.method == "importance")


@torch_threads(1)
def in_context_nll(
    process: Process,
    tokens,
    *,
    hypotheses: int = 2**14,
    particles: int = 1024,
    repeats: int = 8,
    precision: float | None = None,
    max_particles: int = 2**16,
    seed: int = 0,
    memory_budget: int = MEMORY_BUDGET,
) -> InContext:
    """Compute the loss of the Bayes-optimal in-context learner, which learns context nodes' kernels from past tokens.

    If the graph has a pool of kernel sets, this is the mixture of ``n2n.filter`` with each of them. The same graph with
    ``pool=None`` has the oracle that knows the prior of the kernels only.

    If nothing is hidden this is add-alpha smoothing of the sequence's own counts. Otherwise it is a sum over all latent
    paths. The kernels are integrated out, and paths that end in the same state with the same counts are merged into one
    hypothesis, so the sum is exact as long as there are no more than ``hypotheses`` of them at any token: for chains of
    any order, for emissions of an observed or certain path, and for small latents in short sequences. A sequence that
    exceeds the limit, or is clearly about to, is given up early.

    For such a sequence ``repeats`` independent particle filters with conjugate counts marginalise the latent paths.
    Each filter gives unbiased likelihoods L(t) of the tokens up to t, and ``nll`` at t is log mean L(t - 1) - log mean
    L(t) with means over repeats. Standard errors are jackknife estimates over repeats.

    A context node with ``kernel="product"`` that sees several variables has no conjugate prior. All kernels are then
    drawn from the prior, ``repeats * particles`` times, with a filter of the whole batch for each draw. This works for
    short sequences and few parameters; where too few draws fit a sequence, there is an error.

    On a CPU everything runs compiled, on all cores. The first call compiles for about half a minute; the machine code
    is cached on disk for other processes. On other devices the particle filters run in torch.

    A hypothesis and a particle cost O(S) a token for S joint latent states. In long sequences the surviving particles
    share their past, and the estimate degrades: check ``log_likelihood_standard_error``, and raise ``particles`` where
    it approaches 1.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(batch, T)`` integers, T at least 2, as for ``n2n.filter``. If this is a tensor, the results are on
            its device, in float64.
        hypotheses: largest number of hypotheses about a sequence, from 0 for particles only. The default takes at most
            a few times as long as the default particles. The memory budget may allow fewer, and so do large graphs:
            2^24 over the number of joint states or of the learned kernels' entries.
        particles: number of particles of each filter.
        repeats: number of independent filters for each sequence, at least 2, as the standard errors need.
        precision: standard error of the batch's mean loss to reach, nats per token, as for ``n2n.entropy``. The number
            of particles grows until ``mean_loss.standard_error`` is no larger, which costs about twice the last round.
            If a limit is reached first, there is a warning, and ``mean_loss.standard_error`` says by how much it is
            missed. A sequence's estimate then depends on the others of its batch.
        max_particles: largest number of particles to which ``precision`` may lead.
        seed: seed of the filters' random numbers, which are a pure function of (seed, position in the batch, repeat):
            neither the split of the batch, its other sequences nor the number of threads change a sequence's result.
        memory_budget: bytes. The batch is split to stay within it; the results need memory in addition.

    Raises:
        ValueError: if ``n2n.filter`` rejects the tokens, a number is not whole or is out of range, the graph has a pool
            of more than 65,536 kernel sets, the filter of one sequence exceeds the budget, or draws from the prior have
            an effective sample size below 32 for a sequence.

    Source: Andrieu, Doucet and Holenstein, "Particle Markov chain Monte Carlo methods", J. R. Stat. Soc. B 72 (2010),
    for the unbiased likelihood; ``n2n.oracle.learned.particle_filter`` for the filter.
    """
    tokens = check_tokens(process, tokens)
    graph = process.graph
    check_pool(graph)
    hypotheses = as_integer("hypotheses", hypotheses, 0, MAX_HYPOTHESES)
    particles = as_integer("particles", particles, 1, MAX_PARTICLES)
    repeats = as_integer("repeats", repeats, 2, MAX_REPEATS)
    seed = as_integer("seed", seed, 0, 2**63 - 1)
    max_particles = as_integer("max_particles", max_particles, 1, MAX_PARTICLES)
    as_integer("memory_budget", memory_budget, 1)
    if precision is not None:
        as_positive("precision", precision, "nats per token")
    learned = [node for node in graph.context_nodes if node.num_states > 1]
    if not learned:  # a node of one state has one kernel, so all sequences share it
        filtered = filter(process.of_sequence(0), tokens, memory_budget=memory_budget)
        return _exact(filtered.nll, filtered.log_likelihood, "filter")
    if graph.pool is not None:
        sets = track(range(graph.pool), "kernel set")
        weighted = ((process.of_set(index), 1 / graph.pool) for index in sets)
        return _exact(*running_mixture(weighted, tokens, memory_budget), "mixture")
    first = log_first(process, tokens)
    if graph.num_joint_states == 1 and not any(node.stickiness for node in learned):
        nll = mark_impossible_start(count_nll(process, tokens, memory_budget), first)
        return _exact(nll, sequence_log_likelihood(first - nll.sum(1)), "counts")
    check_latents(graph)
    effort = Effort(particles, repeats, seed, memory_budget, precision, max_particles, bool(product_message(graph)))
    limit = 0 if effort.draws else hypotheses
    nll, is_exact = hypotheses_nll(process, tokens, limit, memory_budget)
    nll = mark_impossible_start(nll, first)
    log_likelihood = sequence_log_likelihood(first - nll.sum(1))
    if is_exact.all():
        return _exact(nll, log_likelihood, "enumeration")
    rows = (~is_exact).nonzero()[:, 0]
    found = estimate_rows(process, tokens, rows, first, exact(nll, log_likelihood), effort)
    if effort.draws:
        check_draws(graph, found.sample_sizes, found.particles, repeats)
    method = "importance" if effort.draws else "particles"
    return InContext(*found.estimate, found.sample_sizes, is_exact, method, found.particles, repeats)


def _exact(nll: Tensor, log_likelihood: Tensor, method: Method) -> InContext:
    is_exact = torch.ones_like(log_likelihood, dtype=torch.bool)
    return InContext(*exact(nll, log_likelihood), None, is_exact, method, None, None)
