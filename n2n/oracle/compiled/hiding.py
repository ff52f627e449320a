"""The compiled influence of hidden tokens: each lane of a chunk is the belief about one sequence without one token."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from n2n.oracle.compiled.chunks import Work, affordable_lanes
from n2n.oracle.compiled.forward import filter_sequences, normalise, start
from n2n.oracle.compiled.program import Program
from n2n.oracle.compiled.steps import move, predict, update
from n2n.utils.compilation import compiled, compiled_part
from n2n.utils.cpu import cores, run_parts
from n2n.utils.threads import flushed_denormals

CLOSE = 0.5  # relative difference below which a divergence is computed from the difference itself
RESOLUTION = 1e-24  # nats; smaller values are indistinguishable from rounding and are set to 0
NEGLIGIBLE = 1e-200  # probability of a token that adds far less than that, and whose ratios may underflow


class Hidden(NamedTuple):
    """What follows a hidden token, summed over its values, if a node sees the previous token."""

    by_value: Work  # a lane for each of as many values as step together
    law: np.ndarray  # (V,), of the next token
    belief: np.ndarray  # (S,), after the next token, unscaled


@compiled
def hide_keys(program, tokens, first_key, last_key, feedback, full, one, work, hidden, influence):
    """Write the influence of the keys ``first_key`` to ``last_key - 1``, at most one for each lane of ``work``.

    All lanes step together from the belief before the first key. If no node sees the previous token, a lane leaves out
    the likelihood of its key. Otherwise the next step depends on the key's value, and the lane goes on from ``hidden``.

    Args:
        program: the tables, float64.
        tokens: ``(T,)``.
        first_key, last_key: the keys.
        feedback: whether a node sees the previous token.
        full: ``(T - 1, V)``, the predictive distributions with all tokens.
        one: working memory for the belief with all tokens, one lane.
        work: working memory for the beliefs without a key.
        hidden: working memory for a key's values.
        influence: ``(T - 1, T - 1)``, [query, key], nats.
    """
    belief, spare, values, results = one.values, one.spare, work.values, work.spare
    lanes, nothing = work.current.size, np.empty(0, np.int64)
    for t in range(tokens.size):
        one.current[0] = tokens[t]
        is_key = first_key <= t < last_key
        if t == 0:
            start(program, one.current, nothing, t, t + 1, belief, one)
        else:
            if move(program.moves, belief, spare, one.previous, one):
                belief, spare = spare, belief
        if t > 0 and t >= first_key:
            for lane in range(lanes):
                work.previous[lane], work.current[lane] = tokens[t - 1], tokens[t]
            if move(program.moves, values, results, work.previous, work):
                values, results = results, values
            predict(program, values, work.previous, work)
            if is_key and not feedback:
                _copy_lane(values, t - first_key, lanes, hidden.belief)
            update(program, values, work.previous, work.current, work)
            if is_key and not feedback:
                _set_lane(values, t - first_key, hidden.belief, work)
            if feedback and first_key < t <= last_key:
                _set_lane(values, t - 1 - first_key, hidden.belief, work)
                for v in range(program.vocab_size):
                    lane = t - 1 - first_key
                    work.predictive[v * lanes + lane] = hidden.law[v] / work.scale[lane]
            for lane in range(min(t, last_key) - first_key):
                influence[t - 1, first_key + lane] = _divergence(full[t - 1], work.predictive, lane, work.scale[lane])
            normalise(values, work)
        if is_key and feedback and t + 1 < tokens.size:
            _hide_value(program, tokens, t, belief, one.scale[0], hidden)
        if t > 0:
            update(program, belief, one.previous, one.current, one)
        normalise(belief, one)
        one.previous[0] = tokens[t]
        if t == max(first_key - 1, 0):
            _begin(program, belief, one.scale[0], values, work, first_key == 0 and not feedback)


@compiled_part
def _begin(program, belief, scale, values, work, without_first):
    """Set all lanes to the belief, and the first one to the law of z_0 if it is ``without_first`` token."""
    lanes, states = work.current.size, belief.size
    for s in range(states):
        for lane in range(lanes):
            values[s * lanes + lane] = belief[s] * scale
        if without_first:
            values[s * lanes] = 0
            for token in range(program.vocab_size):
                values[s * lanes] += program.initial[token * states + s]
    for lane in range(lanes):
        work.scale[lane] = 1


@compiled_part
def _copy_lane(values, lane, lanes, column):
    for s in range(column.size):
        column[s] = values[s * lanes + lane]


@compiled_part
def _set_lane(values, lane, column, work):
    lanes, total = work.total.size, 0.0
    for s in range(column.size):
        values[s * lanes + lane] = column[s]
        total += column[s]
    work.total[lane] = total


@compiled_part
def _hide_value(program, tokens, t, predicted, scale, hidden):
    """Step by one token from each value of the hidden x_t, and sum over the values.

    Args:
        predicted: P(z_t | x_<t) up to the factor ``scale``; P(z_0, x_0 = v) is ``program.initial`` at t = 0.
    """
    work, vocab_size, states = hidden.by_value, program.vocab_size, predicted.size
    lanes, values, results = work.current.size, work.values, work.spare
    hidden.law[:] = 0
    hidden.belief[:] = 0
    for first in range(0, vocab_size, lanes):
        for lane in range(lanes):
            value = min(first + lane, vocab_size - 1)
            work.previous[lane], work.current[lane], work.scale[lane] = value, tokens[t + 1], 1
            row = tokens[t - 1] * program.per_token + value * program.row_stride if t else 0
            for s in range(states):
                if first + lane >= vocab_size:
                    weight = 0.0
                elif t:
                    weight = predicted[s] * scale * program.emission[row + program.seen[s]]
                else:
                    weight = program.initial[value * states + s]
                values[s * lanes + lane] = weight
        if move(program.moves, values, results, work.previous, work):
            values, results = results, values
        predict(program, values, work.previous, work)
        update(program, values, work.previous, work.current, work)
        _add_lanes(work.predictive, lanes, hidden.law)
        _add_lanes(values, lanes, hidden.belief)


@compiled_part
def _add_lanes(values, lanes, sums):
    for i in range(sums.size):
        for lane in range(lanes):
            sums[i] += values[i * lanes + lane]


@compiled_part
def _divergence(p, values, lane, scale):
    """KL(p || q) for a lane's distribution q; where p and q are close, accurate far below their own precision."""
    total, lanes = 0.0, values.size // p.size
    for v in range(p.size):
        q = values[v * lanes + lane] * scale
        excess = (q - p[v]) / p[v] if p[v] > 0 else np.inf
        if abs(excess) < CLOSE:
            total += p[v] * (excess - np.log1p(excess))
        elif p[v] > NEGLIGIBLE:
            total += p[v] * np.log(p[v] / q) - p[v] + q if q > 0 else np.inf
        else:
            total += q + 0 * p[v]  # nan if p is
    return 0.0 if total < RESOLUTION else total


def influence_of(program: Program, tokens: np.ndarray, *, feedback: bool, memory: int) -> np.ndarray:
    """The influence of all keys on all queries of ``tokens (batch, T)``, int64, on all cores.

    Args:
        program: the tables, float64.
        tokens: the observed sequences.
        feedback: whether a node sees the previous token.
        memory: bytes for the working memory of all threads; one key at a time is always worked on.

    Returns:
        ``(batch, T - 1, T - 1)``, indexed by [query, key], nats; 0 for keys after the query.
    """
    queries, vocab_size = tokens.shape[1] - 1, program.vocab_size
    influence = np.zeros((len(tokens), queries, queries))
    tokens = np.ascontiguousarray(tokens)  # numba compiles again for rows with strides
    first = 0 if program.initial.size else 1  # a first token that is always 0 tells nothing
    keys = queries - first
    if keys == 0:
        return influence
    full = filter_sequences(program, tokens, predictive=True, memory=memory).predictive
    lane = Work.bytes_per_lane(program)
    threads = min(cores(), len(tokens) * keys, max(1, memory // (3 * lane)))
    share = memory // threads - lane
    values = affordable_lanes(program, vocab_size, share // 2, lane) if feedback else 1
    lanes = affordable_lanes(program, min(keys, -(-keys * len(tokens) // threads)), share - values * lane, lane)
    parts = [(row, key) for row in range(len(tokens)) for key in range(first, queries, lanes)]

    @flushed_denormals()
    def work(part: tuple[int, int]) -> None:
        row, key = part
        one, without = Work.of(program, 1), Work.of(program, lanes)
        hidden = Hidden(Work.of(program, values), np.empty(vocab_size), np.empty(program.seen.size))
        last = min(key + lanes, queries)
        hide_keys(program, tokens[row], key, last, feedback, full[row], one, without, hidden, influence[row])

    run_parts(work, parts, threads)
    return influence
