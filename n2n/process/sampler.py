"""The compiled sampler of sequences by index.

Sequence ``i`` of a split is a pure function of (kernels, key, i). At time ``t``, the node at position ``k`` of the
topological order draws its state by inverting its kernel's row at the uniform number that Philox returns for (i, t, k).
At time 0, the first number of (i, 0, 0) draws all nodes jointly from the initial law. With ``initial="uniform"`` it
draws only the latents, and the second number draws X from its kernel's row. ``sampler_reference`` is the readable
reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from n2n.process.context_kernels import accumulate, fill_row
from n2n.process.sampler_tables import Program, smallest_dtype, table_size
from n2n.utils.compilation import compiled
from n2n.utils.cpu import cores, run_parts
from n2n.utils.philox import fill_uniforms, philox, uniform

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)  # an index fills two 32-bit words of Philox's counter
WIDTH = 256  # largest number of sequences side by side; below 32, calls cost more than the numbers
_SEQUENTIAL_BELOW = 50_000  # tokens; for fewer, starting threads costs more than it saves
_CONTEXT_BUDGET = 2**28  # bytes of one thread's tables of redrawn kernels


NO_KEYS = np.empty((0, 2), np.uint64)
NO_SETS = np.empty(0, np.int64)
NO_INTERVENTIONS = np.empty((0, 3), np.int64)


class Redrawn(NamedTuple):
    """The redrawn kernels of a tile, whose rows are drawn on first use. Lanes with the same set share a table."""

    keys: np.ndarray  # (nodes, 2) words that key each node's kernels
    index: np.ndarray  # (2, lanes) words of the index of each lane's set
    slot: np.ndarray  # (lanes,) table of each lane
    table: np.ndarray  # (lanes, entries) cumulative rows
    ready: np.ndarray  # (lanes, rows) whether a row of a table has been drawn


def draw(
    program: Program,
    key,
    start: int,
    count: int,
    length: int,
    latents: bool,
    *,
    context_keys: np.ndarray = NO_KEYS,
    kernel_sets: np.ndarray = NO_SETS,
    interventions: np.ndarray = NO_INTERVENTIONS,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw sequences ``start`` to ``start + count - 1``; the result does not depend on the number of threads.

    Args:
        program: graph and kernels as flat arrays.
        key: two words for Philox.
        start, count, length: index of the first sequence, number of sequences, number of tokens in a sequence.
        latents: whether to return the latent states.
        context_keys: ``(nodes, 2)``, two words that key each node's redrawn kernels; empty if there are none.
        kernel_sets: ``(count,)``, the index of the set of redrawn kernels of each sequence; if it is empty, every
            sequence has its own set, with the index of the sequence.
        interventions: ``(interventions, 3)``, (time, position of the node, state); the state replaces the draw.
        threads: number of threads; None uses all cores, or one thread if there are few tokens.

    Returns:
        Tokens ``(count, length)`` and states ``(latent nodes, count, length)``, in the smallest unsigned types. The
        states have no sequences if ``latents`` is false.
    """
    tokens, states = empty_sample(program, count, length, latents)
    own = table_size(program)
    width = max(1, min(WIDTH, _CONTEXT_BUDGET // (8 * own))) if own else WIDTH
    if threads is None:
        threads = 1 if count * length < _SEQUENTIAL_BELOW else cores()
    rest = (context_keys, interventions, width, own)
    if threads == 1:
        _draw(program, *key, start, tokens, states, kernel_sets, *rest)
        return tokens, states
    share = min(width, -(-count // threads))

    def work(first: int) -> None:
        last = first + share
        _draw(program, *key, start + first, tokens[first:last], states[:, first:last], kernel_sets[first:last], *rest)

    run_parts(work, range(0, count, share), threads)
    return tokens, states


def empty_sample(program: Program, count: int, length: int, latents: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return arrays of zeros with the shapes and types of the tokens and states that ``draw`` returns."""
    *latent_states, vocab_size = program.num_states.tolist()
    tokens = np.zeros((count, length), smallest_dtype(vocab_size))
    kept = count if latents else 0
    return tokens, np.zeros((len(latent_states), kept, length), smallest_dtype(max(latent_states, default=1)))


@compiled
def _draw(program, key_0, key_1, start, tokens, states, kernel_sets, context_keys, interventions, width, own):
    """Draw tiles of up to ``width`` sequences side by side, so that Philox fills vectors and lookups overlap."""
    table = np.empty((width if own else 0, own))
    ready = np.empty((width, program.row_offset[-1]), np.bool_)
    index = np.zeros((2, width), np.uint64)
    set_index = np.zeros((2, width), np.uint64) if kernel_sets.size else index
    redrawn = Redrawn(context_keys, set_index, np.arange(width), table, ready)
    for first in range(0, tokens.shape[0], width):
        count = min(width, tokens.shape[0] - first)
        ready[:] = False
        for lane in range(count):
            i = np.uint64(start + first + lane)
            index[0, lane], index[1, lane] = i & _MASK, i >> _HALF
        if kernel_sets.size:
            _share(kernel_sets[first : first + count], redrawn)
        kept = states[:, first : first + count] if states.shape[1] else states
        part = tokens[first : first + count]
        _draw_tile(program, key_0, key_1, index, count, part, kept, redrawn, interventions)


@compiled
def _share(kernel_sets, redrawn):
    """Write the index of each lane's set, and its slot: the first lane with the same set."""
    for lane in range(kernel_sets.size):
        i = np.uint64(kernel_sets[lane])
        redrawn.index[0, lane], redrawn.index[1, lane] = i & _MASK, i >> _HALF
        slot = 0
        while kernel_sets[slot] != kernel_sets[lane]:
            slot += 1
        redrawn.slot[lane] = slot


@compiled
def _draw_tile(program, key_0, key_1, index, count, tokens, states, redrawn, interventions):
    nodes = program.num_states.size
    width = index.shape[1]
    current = np.zeros((nodes, width), np.int32)
    values = np.empty((2, width))
    words = np.empty((4, width), np.uint64)
    if program.initial.size:
        x_remains = _start(program, key_0, key_1, index, count, current, values[1])
        if x_remains and program.context[nodes - 1]:
            _move_in_context(program, nodes - 1, current, values[1], count, redrawn)
        elif x_remains:
            _move(program, nodes - 1, current, values[1], count)
        _keep(current, 0, count, tokens, states)
    for t in range(1, tokens.shape[1]):
        for k in range(nodes):
            if k % 2 == 0:
                fill_uniforms(index, count, np.uint64(t), np.uint64(k >> 1), key_0, key_1, words, values)
            if program.context[k]:
                _move_in_context(program, k, current, values[k % 2], count, redrawn)
            else:
                _move(program, k, current, values[k % 2], count)
            for i in range(interventions.shape[0]):
                if interventions[i, 0] == t and interventions[i, 1] == k:
                    current[k] = interventions[i, 2]
        _keep(current, t, count, tokens, states)


@compiled
def _keep(current, t, count, tokens, states):
    last = current.shape[0] - 1
    for lane in range(count):
        tokens[lane, t] = current[last, lane]
    if states.shape[1]:
        for k in range(last):
            for lane in range(count):
                states[k, lane, t] = current[k, lane]


@compiled
def _start(program, key_0, key_1, index, count, current, values):
    """Draw the nodes of the initial law, and write one more number for each lane to ``values``.

    Return whether X remains to be drawn, from these numbers.
    """
    num_nodes = current.shape[0] - (program.initial.size < np.prod(program.num_states))
    for lane in range(count):
        block = philox(index[0, lane], index[1, lane], np.uint64(0), np.uint64(0), key_0, key_1)
        joint = _search(program.initial, uniform(block[0], block[1]))
        for k in range(num_nodes - 1, -1, -1):
            current[k, lane] = joint % program.num_states[k]
            joint //= program.num_states[k]
        values[lane] = uniform(block[2], block[3])
    return num_nodes < current.shape[0]


@compiled
def _search(cdf, value):
    """Return the smallest state whose cumulative probability exceeds ``value``."""
    low, high = 0, cdf.size - 1
    while low < high:
        middle = (low + high) >> 1
        if value < cdf[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _row(program, k, current, lane):
    row = current[k, lane] * program.own_stride[k]
    for edge in range(program.first_edge[k], program.first_edge[k + 1]):
        row += current[program.parent[edge], lane] * program.parent_stride[edge]
    return row


@compiled
def _move(program, k, current, values, count):
    """Draw a node with a fixed kernel in the first ``count`` lanes.

    The guide gives the first candidate state, and a search continues from there to the state of the value.
    """
    rows = np.empty(count, np.int32)
    own_stride = np.int32(program.own_stride[k])
    for lane in range(count):
        rows[lane] = current[k, lane] * own_stride
    for edge in range(program.first_edge[k], program.first_edge[k + 1]):
        parent, stride = program.parent[edge], np.int32(program.parent_stride[edge])
        for lane in range(count):
            rows[lane] += current[parent, lane] * stride
    size, cells, guide, cdf = program.num_states[k], program.cells[k], program.guide, program.cdf
    first_cell, first = program.guide_offset[k], program.offset[k]
    for lane in range(count):
        value = values[lane]
        entry = np.int64(guide[first_cell + rows[lane] * cells + np.int64(value * cells)])
        state = entry >> 1
        if entry & 1:
            begin = first + rows[lane] * size
            while value >= cdf[begin + state]:
                state += 1
        current[k, lane] = state


@compiled
def _move_in_context(program, k, current, values, count, redrawn):
    """Draw a node with redrawn kernels in the first ``count`` lanes; each row is drawn on its first use."""
    size = program.num_states[k]
    factors = np.empty(max(1, 1 + program.first_edge[k + 1] - program.first_edge[k]), np.int64)
    for lane in range(count):
        row = _row(program, k, current, lane)
        begin = program.offset[k] + row * size
        slot = redrawn.slot[lane]
        cdf = redrawn.table[slot, begin : begin + size]
        if not redrawn.ready[slot, program.row_offset[k] + row]:
            used = _factors(program, k, current, lane, row, factors)
            key_0, key_1 = redrawn.keys[k, 0], redrawn.keys[k, 1]
            low, high = redrawn.index[0, lane], redrawn.index[1, lane]
            alpha, stickiness, own = program.alpha[k], program.stickiness[k], current[k, lane]
            fill_row(cdf, factors[:used], alpha, stickiness, own, low, high, key_0, key_1)
            accumulate(cdf)
            redrawn.ready[slot, program.row_offset[k] + row] = True
        current[k, lane] = _search(cdf, values[lane])


@compiled
def _factors(program, k, current, lane, row, factors):
    """Write the positions of the factors' rows that make up a row to ``factors``, and return their number."""
    if not program.product[k]:
        factors[0] = row
        return 1
    used, begin = 0, 0
    if program.own_stride[k]:
        factors[0] = current[k, lane]
        used, begin = 1, program.num_states[k]
    for edge in range(program.first_edge[k], program.first_edge[k + 1]):
        factors[used] = begin + current[program.parent[edge], lane]
        begin += program.num_states[program.parent[edge]]
        used += 1
    return used
