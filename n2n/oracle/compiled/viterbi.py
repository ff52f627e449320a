"""The compiled Viterbi algorithm, in logarithms, on chunks of sequences like the forward algorithm."""

from __future__ import annotations

import numpy as np

from n2n.oracle.compiled.chunks import Work, multiply_adds, run_chunks
from n2n.oracle.compiled.program import Program
from n2n.oracle.compiled.vectors import NARROW, narrow_best_sum, single_best_sum
from n2n.utils.compilation import compiled, compiled_part
from n2n.utils.emitters import address


@compiled
def decode_chunk(program, tokens, first, work, pointers, path, log_probability):
    """Decode as many sequences of ``tokens (T, batch)`` as there are lanes, from ``first`` on.

    Args:
        program: the tables in logarithms.
        pointers: working memory, ``(T - 1, latents, S * lanes)`` integers.
        path: joint states, ``(batch, T)``, int64.
        log_probability: ``(batch,)``, of the path and the tokens.
    """
    values, spare, previous, current = work.values, work.spare, work.previous, work.current
    lanes, states = current.size, program.seen.size
    count = min(lanes, tokens.shape[1] - first)
    for t in range(tokens.shape[0]):
        for lane in range(lanes):
            current[lane] = tokens[t, first + min(lane, count - 1)]
        if t == 0:
            _start(program, current, values)
        else:
            for k in range(program.sizes.size):
                _best(program.moves, k, values, spare, previous, pointers[t - 1, k], work.rows)
                values, spare = spare, values
            for s in range(states):
                for lane in range(lanes):
                    row = previous[lane] * program.per_token + current[lane] * program.row_stride
                    values[s * lanes + lane] += program.emission[row + program.seen[s]]
        previous, current = current, previous
    for lane in range(count):
        best = 0
        for s in range(states):
            if values[s * lanes + lane] > values[best * lanes + lane]:
                best = s
        log_probability[first + lane] = values[best * lanes + lane]
        _trace(program.sizes, pointers, best, lane, lanes, path[first + lane])


@compiled_part
def _start(program, tokens, values):
    states, lanes = program.seen.size, tokens.size
    for s in range(states):
        for lane in range(lanes):
            if program.initial.size:
                values[s * lanes + lane] = program.initial[tokens[lane] * states + s]
            else:
                values[s * lanes + lane] = 0.0 if s == 0 else -np.inf


@compiled_part
def _best(moves, k, values, results, previous, pointers, rows):
    """Maxima over the previous state of latent ``k``, and the states that attain them."""
    before, states, after = moves.shapes[k, 0], moves.shapes[k, 1], moves.shapes[k, 2]
    row_stride, lanes = moves.row_strides[k], previous.size
    per_token = moves.offsets[k, 2] * states * row_stride
    columns = after * lanes
    for b in range(before):
        table = moves.offsets[k, 0] + moves.choices[moves.offsets[k, 1] + b] * states * row_stride
        first = b * states * columns
        for state in range(states):
            to, row = first + state * columns, table + state * row_stride
            if per_token:
                for lane in range(lanes):
                    rows[lane] = row + previous[lane] * per_token
                _best_by_lane(moves.tables, rows, states, values, first, results, pointers, to, columns)
            else:
                _best_of(moves.tables, row, states, values, first, results, pointers, to, columns)


@compiled_part
def _best_of(tables, row, states, values, first, results, pointers, to, columns):
    count, column = NARROW // values.itemsize, 0
    while column < columns and columns >= count:
        at = min(column, columns - count)  # the last columns twice rather than one by one
        narrow_best_sum(
            states, address(tables, row), address(values, first + at), address(results, to + at),
            address(pointers, to + at), columns,
        )  # fmt: skip
        column += count
    while column < columns:
        single_best_sum(
            states, address(tables, row), address(values, first + column), address(results, to + column),
            address(pointers, to + column), columns,
        )  # fmt: skip
        column += 1


@compiled_part
def _best_by_lane(tables, rows, states, values, first, results, pointers, to, columns):
    for c in range(columns):
        row = rows[c % rows.size]
        results[to + c], pointers[to + c] = values[first + c] + tables[row], 0
        for p in range(1, states):
            value = values[first + p * columns + c] + tables[row + p]
            if value > results[to + c]:
                results[to + c], pointers[to + c] = value, p


@compiled_part
def _trace(sizes, pointers, state, lane, lanes, path):
    """Follow the pointers back from the last joint state; each one resets a latent to its previous state."""
    last = path.size - 1
    path[last] = state
    for t in range(last - 1, -1, -1):
        stride = 1
        for k in range(sizes.size - 1, -1, -1):
            moved = state // stride % sizes[k]
            state += (np.int64(pointers[t, k, state * lanes + lane]) - moved) * stride
            stride *= sizes[k]
        path[t] = state


def decode_sequences(program: Program, tokens: np.ndarray, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode ``tokens (batch, T)``, int64, on all cores.

    Args:
        program: the tables in logarithms.
        tokens: the observed sequences.
        memory: bytes for the working memory of all threads. One sequence at a time is always worked on.

    Returns:
        The joint states of the most probable path, ``(batch, T)``, and the log probability of path and tokens.
    """
    path, log_probability = np.empty(tokens.shape, np.int64), np.empty(len(tokens))
    columns = np.ascontiguousarray(tokens.T)
    pointer = np.min_scalar_type(program.sizes.max(initial=1) - 1)
    shape = (tokens.shape[1] - 1, program.sizes.size, program.seen.size)

    def work(first: int, space: Work) -> None:
        pointers = np.empty((*shape[:2], shape[2] * space.current.size), pointer)
        decode_chunk(program, columns, first, space, pointers, path, log_probability)

    extra = int(np.prod(shape)) * pointer.itemsize
    run_chunks(work, program, len(tokens), memory, 8 * multiply_adds(program) * tokens.shape[1], extra=extra)
    return path, log_probability
