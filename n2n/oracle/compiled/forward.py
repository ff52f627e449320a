"""The compiled forward algorithm: chunks of sequences, each on one thread from its first token to its last.

Threads never wait for each other within a chunk, so the filter keeps its speed on a machine whose cores other jobs use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from n2n.oracle.compiled.chunks import Work, multiply_adds, run_chunks
from n2n.oracle.compiled.program import Program
from n2n.oracle.compiled.steps import marginals, move, predict, update
from n2n.utils.compilation import compiled, compiled_part

SMALL = 2.0**-20  # evidence under which a belief is normalised before the next step rather than within it


class Outputs(NamedTuple):
    """Results over all sequences; those that were not requested have no entries."""

    evidence: np.ndarray  # (batch, T), P(x_t | x_<t)
    predictive: np.ndarray  # (batch, T - 1, V)
    beliefs: np.ndarray  # (batch, T, sum of sizes), marginals
    joint: np.ndarray  # (batch, T, S)


@compiled
def filter_chunk(program, tokens, known, sets, first, factored, work, outputs):
    """Filter as many sequences of ``tokens (T, batch)`` as there are lanes, from ``first`` on.

    Lanes beyond the last sequence repeat it, and nothing is kept of them.

    Args:
        known: joint states at t = 0, ``(batch,)``; empty if they are unknown.
        sets: which set of kernels each sequence has, ``(batch,)``; empty if the program has one.
        factored: whether the belief is replaced by the product of its marginals after each step.
    """
    values, spare, previous, current = work.values, work.spare, work.previous, work.current
    count = min(current.size, tokens.shape[1] - first)
    for lane in range(current.size):
        work.sets[lane] = sets[first + min(lane, count - 1)] if sets.size else 0
    for t in range(tokens.shape[0]):
        for lane in range(current.size):
            current[lane] = tokens[t, first + min(lane, count - 1)]
        if t:
            if move(program.moves, values, spare, previous, work):
                values, spare = spare, values
            if outputs.predictive.size:
                predict(program, values, previous, work)
                keep(work.predictive, work.scale, outputs.predictive, first, count, t - 1)
            update(program, values, previous, current, work)
        else:
            start(program, current, known, first, count, values, work)
        for lane in range(count):
            outputs.evidence[first + lane, t] = work.total[lane]
        if t == 0 and known.size:
            for lane in range(current.size):
                work.total[lane] = 1  # of the values: a known start is certain, even if its probability is 0
        normalise(values, work)
        if factored or outputs.beliefs.size:
            marginals(program.sizes, values, work)
            keep(work.marginals, work.scale, outputs.beliefs, first, count, t)
        keep(values, work.scale, outputs.joint, first, count, t)
        if work.history.size:
            for i in range(values.size):
                work.history[t, i] = values[i] * work.scale[i % current.size]
        if factored and program.sizes.size and _product(program.sizes, values, spare, work):
            values, spare = spare, values
        previous, current = current, previous


@compiled_part
def start(program, tokens, known, first, count, values, work):
    """Set the values to P(z_0, x_0) and ``work.total`` to its sum, given the first tokens ``(lanes,)``.

    A known joint state has the value 1, and the total is its probability with x_0.
    """
    lanes, states, total = tokens.size, program.seen.size, work.total
    for lane in range(lanes):
        total[lane] = 0
        law = work.sets[lane] * program.initial_per_set + tokens[lane] * states
        state = known[first + min(lane, count - 1)] if known.size else 0
        for s in range(states):
            probability = program.initial[law + s] if program.initial.size else values.dtype.type(s == state)
            if known.size:
                values[s * lanes + lane] = s == state
                total[lane] += probability if s == state else 0
            else:
                values[s * lanes + lane] = probability
                total[lane] += probability


@compiled_part
def normalise(values, work):
    """Set ``scale`` to 1 / total; where that is large, multiply the values by it at once, as they are small."""
    total, scale, lanes = work.total, work.scale, work.total.size
    for lane in range(lanes):
        scale[lane] = 1 / total[lane] if total[lane] != 0 else np.inf
        if total[lane] < SMALL:
            for place in range(lane, values.size, lanes):
                values[place] *= scale[lane]
            scale[lane] = 1


@compiled_part
def keep(values, scale, results, first, count, t):
    """Copy values ``(n, lanes)`` times ``scale`` to ``results (batch, T, n)``, if that has room for any."""
    if results.size:
        for lane in range(count):
            for i in range(results.shape[2]):
                results[first + lane, t, i] = values[i * len(scale) + lane] * scale[lane]


@compiled_part
def _product(sizes, values, results, work):
    """Replace values by the product of the marginals, and ``scale`` by 1; both arrays are overwritten.

    Return whether the product is in ``results``; otherwise it is in ``values``.
    """
    sums, scale, lanes, states, row = work.marginals, work.scale, work.scale.size, 1, 0
    for lane in range(lanes):
        values[lane] = 1
    for size in sizes:
        for s in range(states):
            for i in range(size):
                for lane in range(lanes):
                    factor = sums[(row + i) * lanes + lane] * scale[lane]
                    results[(s * size + i) * lanes + lane] = values[s * lanes + lane] * factor
        values, results = results, values
        states, row = states * size, row + size
    for lane in range(lanes):
        scale[lane] = 1
    return sizes.size % 2 == 1


def filter_sequences(
    program: Program,
    tokens: np.ndarray,
    known: np.ndarray | None = None,
    sets: np.ndarray | None = None,
    *,
    predictive: bool = False,
    beliefs: bool = False,
    joint: bool = False,
    factored: bool = False,
    memory: int = 2**30,
) -> Outputs:
    """Filter ``tokens (batch, T)``, int64, on all cores; each result depends on its own sequence only.

    Args:
        program: the tables, in the type of the results.
        tokens: the observed sequences.
        known: joint states at t = 0, ``(batch,)``, int64; None if they are unknown.
        sets: which set of kernels each sequence has, ``(batch,)``, int64; None if the program has one.
        predictive, beliefs, joint: whether to keep these results.
        factored: whether to replace the belief by the product of its marginals after each step.
        memory: bytes for the working memory of all threads. One sequence at a time is always worked on.
    """
    outputs = empty_outputs(program, tokens, predictive=predictive, beliefs=beliefs, joint=joint)
    columns = np.ascontiguousarray(tokens.T)
    known, sets = (np.empty(0, np.int64) if given is None else given for given in (known, sets))

    def work(first: int, space: Work) -> None:
        filter_chunk(program, columns, known, sets, first, factored, space, outputs)

    run_chunks(work, program, len(tokens), memory, multiply_adds(program) * tokens.shape[1])
    return outputs


def empty_outputs(program: Program, tokens: np.ndarray, *, predictive: bool, beliefs: bool, joint: bool) -> Outputs:
    """Arrays for the results over ``tokens (batch, T)``."""
    (batch, length), dtype = tokens.shape, program.emission.dtype
    return Outputs(
        np.empty((batch, length), dtype),
        np.empty((batch, length - 1, program.vocab_size) if predictive else (0, 0, 0), dtype),
        np.empty((batch, length, program.sizes.sum()) if beliefs else (0, 0, 0), dtype),
        np.empty((batch, length, program.seen.size) if joint else (0, 0, 0), dtype),
    )
