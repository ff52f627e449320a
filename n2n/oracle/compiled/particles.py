"""The compiled particle filter: each filter runs on one thread from its first token to its last.

A particle's distribution over its next states is not kept: its sum and a draw from it are computed in one go, and once
more for the particles that resampling replaces. ``n2n.oracle.learned.particle_filter`` is the readable twin in torch,
with the same random numbers.
"""

from __future__ import annotations

import itertools
import threading
from typing import NamedTuple

import numpy as np

from n2n.graph.graph import Graph
from n2n.oracle.compiled.particle_program import (
    bytes_of_program,
    bytes_per_filter,
    count_dtype,
    count_program,
    lanes_of,
)
from n2n.oracle.compiled.particle_steps import Block, advance, count, start
from n2n.process.initial_law import shows_latents_first
from n2n.process.process import Process
from n2n.utils.compilation import compiled, compiled_part
from n2n.utils.cpu import cores, run_parts
from n2n.utils.philox import fill_uniforms, philox, uniform
from n2n.utils.progress import PERIOD, Progress

NEXT_STATE, OFFSET, STICKY = 0, 1, 2  # what a random number is for; that of a sticky node is STICKY + its position
REPEAT = 2**16  # a repeat's numbers in the counter
_PART = 2**20  # probabilities of joint states in one part of the work; they take about five milliseconds
_TOKEN = 64  # probabilities that take as long as the rest of the work for a token


class Cloud(NamedTuple):
    """The particles of a filter."""

    counts: np.ndarray  # (particles, width) and a few more numbers, flat
    before: np.ndarray  # (particles,) int64, joint states at t - 1
    after: np.ndarray  # (particles,) int64, joint states at t
    offspring: np.ndarray  # (particles,) int64, number of copies that resampling keeps
    members: np.ndarray  # (particles,) int64, some of the particles
    weights: np.ndarray  # (particles,)
    evidence: np.ndarray  # (particles,) P(x_t | particle)
    index: np.ndarray  # (2, pairs) uint64, two words of Philox's counter: a pair of particles, and t
    words: np.ndarray  # (4, pairs) uint64
    pairs: np.ndarray  # (2, pairs) random numbers
    uniforms: np.ndarray  # (2 * pairs,) the same memory: the random number of each particle

    @classmethod
    def of(cls, width: int, particles: int, length: int) -> Cloud:
        """Memory for particles of this width over sequences of this length."""
        counts = np.zeros(particles * width + 16, count_dtype(length))  # vectors reach beyond the last
        integers, numbers = [np.zeros(particles, np.int64) for _ in range(4)], [np.zeros(particles) for _ in range(2)]
        pairs = (particles + 1) // 2
        index, values = np.zeros((2, pairs), np.uint64), np.zeros((2, pairs))
        index[0] = np.arange(pairs)
        return cls(counts, *integers, *numbers, index, np.zeros((4, pairs), np.uint64), values, values.reshape(-1))


@compiled
def run_filters(program, tokens, filters, key, cloud, block, likelihoods, sample_sizes):
    """Run one filter for each of ``filters (n, 2)``, a sequence and a repeat each.

    Args:
        program: the kernels.
        tokens: ``(batch, T)``, int64.
        filters: the filters.
        key: the two words of Philox's key.
        cloud, block: working memory.
        likelihoods: ``(n, T - 1)``, each filter's estimates of P(x_t | x_<t).
        sample_sizes: ``(n, T - 1)``, effective sample sizes after the token, before resampling.
    """
    nodes, everyone = program.sizes.size, cloud.members
    for f in range(filters.shape[0]):
        sequence, repeat = filters[f, 0], filters[f, 1]
        _fill(sequence, repeat, 0, NEXT_STATE, key, cloud)
        start(program, tokens[sequence, 0], cloud, block)
        for t in range(1, tokens.shape[1]):
            before, token = tokens[sequence, t - 1], tokens[sequence, t]
            for i in range(everyone.size):
                everyone[i] = i
            _fill(sequence, repeat, t, NEXT_STATE, key, cloud)
            advance(program, before, token, everyone, cloud, block)
            likelihoods[f, t - 1], sample_sizes[f, t - 1] = _weigh(cloud)
            if sample_sizes[f, t - 1] < everyone.size / 2:
                offset = _number(sequence, repeat, t, OFFSET, key)
                replaced = _resample(program.width, offset, cloud)
                advance(program, before, token, cloud.members[:replaced], cloud, block)
            for k in range(nodes):
                if program.learned[k]:
                    if program.stickiness[k]:
                        _fill(sequence, repeat, t, STICKY + k, key, cloud)
                    count(program, k, before, token, cloud)
            cloud.before[:] = cloud.after


@compiled_part
def _fill(sequence, repeat, t, purpose, key, cloud):
    """Draw a random number for each particle."""
    cloud.index[1, :] = t
    c2, c3 = np.uint64(sequence), np.uint64(repeat * REPEAT + purpose)
    fill_uniforms(cloud.index, cloud.index.shape[1], c2, c3, key[0], key[1], cloud.words, cloud.pairs)


@compiled_part
def _number(sequence, repeat, t, purpose, key):
    """One random number: that of the first particle."""
    c2, c3 = np.uint64(sequence), np.uint64(repeat * REPEAT + purpose)
    high, low, _, _ = philox(np.uint64(0), np.uint64(t), c2, c3, key[0], key[1])
    return uniform(high, low)


@compiled_part
def _weigh(cloud):
    """Weigh the particles by the token.

    Returns:
        The token's probability and the effective sample size. If all particles have weight 0, the probability is 0, and
        equal weights keep later numbers finite.
    """
    weights, evidence, particles = cloud.weights, cloud.evidence, cloud.weights.size
    total, squares = 0.0, 0.0
    for i in range(particles):
        weights[i] *= evidence[i]
        total += weights[i]
    if total == 0:
        weights[:] = 1
    sum_of_weights = total if total > 0 else float(particles)
    for i in range(particles):
        weights[i] /= sum_of_weights
        squares += weights[i] * weights[i]
    return total, 1 / squares


@compiled_part
def _resample(width, offset, cloud):
    """Resample systematically: survivors stay in place, and further copies of them replace the other particles.

    Returns:
        The number of replaced particles, which are the first of ``cloud.members``. Their next states are not drawn yet.
    """
    weights, offspring, particles = cloud.weights, cloud.offspring, cloud.weights.size
    total, replaced, chosen, source = 0.0, 0, 0, 0
    for i in range(particles):
        total += weights[i]
        offspring[i] = 0
    rung = weights[0]
    for i in range(particles):
        while chosen < particles - 1 and rung <= (i + offset) / particles * total:
            chosen += 1
            rung += weights[chosen]
        offspring[chosen] += 1
    for i in range(particles):
        weights[i] = 1 / particles
        if offspring[i] == 0:
            while offspring[source] < 2:
                source += 1
            offspring[source] -= 1
            cloud.before[i] = cloud.before[source]
            for c in range(width):
                cloud.counts[i * width + c] = cloud.counts[source * width + c]
            cloud.members[replaced] = i
            replaced += 1
    return replaced


def filter_particles(
    process: Process,
    tokens: np.ndarray,
    particles: int,
    repeats: int,
    seed: int,
    memory: int,
    *,
    rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run ``repeats`` filters for each sequence of ``tokens (batch, T)``, int64, on all cores.

    Neither the number of threads nor the other sequences of the batch change a filter's result.

    Args:
        process: the process.
        tokens: the observed sequences.
        particles: number of particles of each filter.
        repeats: number of filters for each sequence.
        seed: from 0 to 2**63 - 1.
        memory: bytes for the tables and the working memory of all threads. One filter at a time is always run.
        rows: the sequences to filter, ``(n,)``; None for all.

    Returns:
        Each filter's estimates of P(x_t | x_<t) and the effective sample sizes, both ``(n, repeats, T - 1)``.
    """
    graph, (batch, length) = process.graph, tokens.shape
    program, tokens = count_program(process), np.ascontiguousarray(tokens)
    rows = np.arange(batch) if rows is None else rows
    filters = np.stack([rows.repeat(repeats), np.tile(np.arange(repeats), len(rows))], axis=1)
    likelihoods, sample_sizes = (np.empty((len(filters), length - 1)) for _ in range(2))
    at_once = max(1, (memory - bytes_of_program(graph)) // bytes_per_filter(graph, particles, length))
    size = max(1, _PART // (length * (particles * graph.num_joint_states + _TOKEN)))
    firsts, spaces, done = range(0, len(filters), size), threading.local(), itertools.count(1)

    def run(first: int) -> None:
        if not hasattr(spaces, "memory"):
            cloud = Cloud.of(program.width, particles, length)
            spaces.memory = cloud, Block.of(program, lanes_of(graph, particles))
        part = slice(first, first + size)
        run_filters(
            program, tokens, filters[part], philox_key(seed), *spaces.memory, likelihoods[part], sample_sizes[part]
        )
        progress.update(next(done), {})

    with Progress(0, len(firsts), unit="part", delay=PERIOD) as progress:
        run_parts(run, firsts, min(cores(), at_once))
    shape = (len(rows), repeats, length - 1)
    return likelihoods.reshape(shape), sample_sizes.reshape(shape)


def count_sequences(graph: Graph, tokens: np.ndarray) -> np.ndarray:
    """P(x_t | x_<t) for ``tokens (batch, T)``, int64, if X's kernel must be learned and nothing is hidden.

    This is a filter with one particle, which draws nothing: only X's row of the step is read and counted.
    """
    x, likelihoods = graph.observed, np.empty((len(tokens), tokens.shape[1] - 1))
    cells = np.zeros((x.num_states if x.recurrent else 1, x.num_states), np.int32)
    counts_first = shows_latents_first(graph)
    _count_sequences(np.ascontiguousarray(tokens), x.alpha, x.recurrent, counts_first, cells, likelihoods)
    return likelihoods


@compiled
def _count_sequences(tokens, alpha, recurrent, counts_first, cells, likelihoods):
    """``cells`` has zeros before and after."""
    (batch, length), total_alpha = tokens.shape, alpha * cells.shape[1]
    totals = np.zeros(len(cells), np.int32)
    for b in range(batch):
        if counts_first:
            cells[0, tokens[b, 0]] = totals[0] = 1
        for t in range(1, length):
            row, token = tokens[b, t - 1] if recurrent else 0, tokens[b, t]
            likelihoods[b, t - 1] = (cells[row, token] + alpha) / (totals[row] + total_alpha)
            cells[row, token] += 1
            totals[row] += 1
        for t in range(length):  # cheaper than setting all entries to 0, if there are more entries than tokens
            row = tokens[b, t - 1] if recurrent and t else 0
            cells[row, tokens[b, t]] = totals[row] = 0


def philox_key(seed: int) -> tuple[np.uint64, np.uint64]:
    """The two words of Philox's key for a seed from 0 to 2**63 - 1."""
    return np.uint64(seed % 2**32), np.uint64(seed // 2**32)
