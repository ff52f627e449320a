"""Exact inference of learned kernels: a sum over all latent paths that merges those with equal counts.

A hypothesis is a joint latent state with the counts of a path that ends there. The kernels' Dirichlet posteriors depend
on the path through its counts only, so paths with the same state and counts share all their future, and their weights
add up. The number of hypotheses grows with the length of the sequence, but as a polynomial rather than exponentially.
``n2n.oracle.reference.in_context_by_hypotheses`` is the readable twin.
"""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np

from n2n.graph.graph import Graph
from n2n.oracle.compiled.hypothesis_steps import Hypotheses, evidence, normalise, start, step
from n2n.oracle.compiled.particle_program import bytes_of_program, count_dtype, count_program, lanes_of, width_of
from n2n.oracle.compiled.particle_steps import Block
from n2n.process.process import Process
from n2n.utils.compilation import compiled, compiled_part
from n2n.utils.cpu import cores, run_parts
from n2n.utils.progress import PERIOD, Progress

PATIENCE = 8  # a sequence is given up early if its number of hypotheses heads for this many times the limit
TELLING = 64  # the fraction 1 / TELLING of the limit, from which the growth is trusted
_PART = 2**12  # tokens in one part of the work


def bytes_per_hypothesis(graph: Graph, length: int) -> int:
    """Bytes of a hypothesis after two successive tokens, with its slots in the table."""
    return 2 * (width_of(graph) * count_dtype(length).itemsize + 3 * 8) + 8 + 4 * 8


def enumerate_hypotheses(
    process: Process, tokens: np.ndarray, limit: int, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run the exact recursion for ``tokens (batch, T)``, int64, on all cores.

    Args:
        process: the process.
        tokens: the observed sequences.
        limit: largest number of hypotheses of a sequence. A sequence that exceeds it is given up, and also one with a
            64th of them whose growth so far, as a power of t, leads to eight times the limit.
        memory: bytes for the tables and the working memory of all threads. One sequence at a time is always worked on.

    Returns:
        P(x_t | x_<t), ``(batch, T - 1)``, which is 0 from the first impossible token on, and each sequence's largest
        number of hypotheses, ``(batch,)``: -1 if it was given up.
    """
    graph, (batch, length) = process.graph, tokens.shape
    program, tokens = count_program(process), np.ascontiguousarray(tokens)
    likelihoods, numbers = np.zeros((batch, length - 1)), np.zeros(batch, np.int64)
    at_once = max(1, (memory - bytes_of_program(graph)) // (limit * bytes_per_hypothesis(graph, length)))
    size = max(1, _PART // length)
    firsts, spaces, done = range(0, batch, size), threading.local(), itertools.count(1)

    def run(first: int) -> None:
        if not hasattr(spaces, "memory"):
            found = Hypotheses.of(program.width, len(graph.nodes), limit, length)
            spaces.memory = found, Block.of(program, lanes_of(graph, limit))
        part = slice(first, first + size)
        run_hypotheses(program, tokens[part], *spaces.memory, likelihoods[part], numbers[part])
        progress.update(next(done), {})

    with Progress(0, len(firsts), unit="part", delay=PERIOD) as progress:
        run_parts(run, firsts, min(cores(), at_once))
    return likelihoods, numbers


@compiled
def run_hypotheses(program, tokens, found, block, likelihoods, numbers):
    """Run the exact recursion for each sequence of ``tokens (batch, T)``, int64.

    Args:
        program: the kernels.
        tokens: the sequences.
        found, block: working memory.
        likelihoods: ``(batch, T - 1)``, P(x_t | x_<t); not written from the first impossible token on.
        numbers: ``(batch,)``, the largest number of hypotheses, or -1 if it would exceed the limit.
    """
    length = tokens.shape[1]
    for b in range(tokens.shape[0]):
        number = numbers[b] = found.history[0] = start(program, tokens[b, 0], found)
        for t in range(1, length):
            if number < 1:
                break
            old, new, before, token = (t - 1) % 2, t % 2, tokens[b, t - 1], tokens[b, t]
            if t == length - 1:
                likelihoods[b, t - 1] = evidence(program, before, token, number, old, found, block)
                break
            number = found.history[t] = step(program, before, token, number, old, new, found, block)
            if number >= 0:
                likelihoods[b, t - 1] = normalise(number, new, found)
                numbers[b] = max(numbers[b], number)
            if number < 0 or _explodes(t, length - 2, found):
                number = numbers[b] = -1


@compiled_part
def _explodes(t, last, found):
    """Whether the number of hypotheses, growing as a power of t, would exceed the limit many times over."""
    now, earlier, limit = found.history[t], found.history[t // 2], found.slots.size
    if now * TELLING < limit or earlier < 1:
        return False
    return now * (now / earlier) ** math.log2(last / t) > PATIENCE * limit
