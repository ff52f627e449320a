"""Sequences by index: the compiled sampler and its readable twin.

Sequence ``i`` of a split is a pure function of (kernels, key, i): the node at position ``k`` of the topological order
draws its state at time ``t`` from the uniform number that Philox gives for (i, t, k), by inversion of its kernel's row.
At time 0 the number of (i, 0, 0) draws all nodes at once from the initial law.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from n2n.graph import Graph
from n2n.philox import compiled, philox, uniform

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)  # an index fills two 32-bit words of Philox's counter
_SEQUENTIAL_BELOW = 50_000  # tokens; under it, handing out threads costs more than it saves


class Program(NamedTuple):
    """A graph and its kernels as flat arrays; nodes in topological order, X last, edges grouped by child."""

    num_states: np.ndarray  # (nodes,)
    own_stride: np.ndarray  # (nodes,) rows to skip for each own previous state; 0 where it is not seen
    first_edge: np.ndarray  # (nodes + 1,)
    parent: np.ndarray  # (edges,) position of the parent
    parent_stride: np.ndarray  # (edges,)
    offset: np.ndarray  # (nodes,) where the node's rows begin in cdf
    cdf: np.ndarray  # cumulative rows of every kernel, one after the other
    initial: np.ndarray  # cumulative law of all nodes at t = 0, the last node fastest; empty if they start in 0


def compile_program(graph: Graph, kernels: Mapping[str, np.ndarray], initial: np.ndarray | None) -> Program:
    """Flatten kernels, by name with axes (own previous state, parents in order, new state), and the initial law."""
    position = {node.name: k for k, node in enumerate(graph.order)}
    own_stride, first_edge, parent, parent_stride, offset, cdf = [], [0], [], [], [0], []
    for node in graph.order:
        rows_after = np.cumprod((*kernels[node.name].shape[:-1], 1)[::-1])[::-1]  # rows spanned by each axis
        strides = rows_after[1:].tolist()
        own_stride.append(strides.pop(0) if node.sees_itself else 0)
        parent += [position[name] for name in node.parents]
        parent_stride += strides
        first_edge.append(len(parent))
        cdf.append(_cumulative(kernels[node.name]).ravel())
        offset.append(offset[-1] + cdf[-1].size)
    integers = (own_stride, first_edge, parent, parent_stride, offset[:-1])
    num_states = np.array([node.num_states for node in graph.order], dtype=np.int64)
    integers = [np.array(values, dtype=np.int64) for values in integers]
    start = np.empty(0) if initial is None else _cumulative(initial.ravel())
    return Program(num_states, *integers, np.concatenate(cdf), start)


def _cumulative(kernel: np.ndarray) -> np.ndarray:
    """Cumulative rows that reach exactly 1 at the last state of positive probability, so that no draw falls outside."""
    cdf = np.cumsum(kernel, axis=-1)
    return np.where(cdf >= cdf[..., -1:], 1.0, cdf)


def smallest_dtype(num_states: int) -> np.dtype:
    """The smallest unsigned integer type that holds the states 0 to ``num_states - 1``."""
    return np.min_scalar_type(num_states - 1)


def draw(program: Program, key, start: int, count: int, length: int, latents: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sequences ``start`` to ``start + count - 1``, on all cores at hand.

    Returns:
        tokens ``(count, length)`` and states ``(latent nodes, count, length)``, with no sequence in the latter unless
        ``latents``. Both in the smallest unsigned type.
    """
    tokens, states = _empty(program, count, length, latents)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads == 1 or count * length < _SEQUENTIAL_BELOW:
        _draw(program, *key, start, tokens, states)
        return tokens, states
    edges = np.linspace(0, count, min(threads, count) + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_draw, program, *key, start + first, tokens[first:last], states[:, first:last])
            for first, last in pairwise(edges)
        ]
        for job in jobs:
            job.result()
    return tokens, states


def _empty(program: Program, count: int, length: int, latents: bool) -> tuple[np.ndarray, np.ndarray]:
    *latent_states, vocab_size = program.num_states.tolist()
    tokens = np.zeros((count, length), smallest_dtype(vocab_size))
    kept = count if latents else 0
    return tokens, np.zeros((len(latent_states), kept, length), smallest_dtype(max(latent_states, default=1)))


@compiled
def _search(cdf, first, size, value):
    """The smallest state whose cumulative probability exceeds ``value``."""
    low, high = first, first + size - 1
    while low < high:
        middle = (low + high) >> 1
        if value < cdf[middle]:
            high = middle
        else:
            low = middle + 1
    return low - first


@compiled
def _draw(program, key_0, key_1, start, tokens, states):
    unkept = np.zeros((states.shape[0], states.shape[2]), states.dtype)
    for i in range(tokens.shape[0]):
        kept = states[:, i] if states.shape[1] else unkept
        _draw_sequence(program, key_0, key_1, np.uint64(start + i), tokens[i], kept)


@compiled
def _draw_sequence(program, key_0, key_1, index, tokens, states):
    nodes = program.num_states.size
    current = np.zeros(nodes, np.int64)
    low, high = index & _MASK, index >> _HALF
    if program.initial.size:
        block = philox(low, high, np.uint64(0), np.uint64(0), key_0, key_1)
        _start(program, current, uniform(block[0], block[1]))
        tokens[0] = current[nodes - 1]
        states[:, 0] = current[: nodes - 1]
    for t in range(1, tokens.size):
        for k in range(nodes):
            if k % 2 == 0:
                block = philox(low, high, np.uint64(t), np.uint64(k >> 1), key_0, key_1)
            value = uniform(block[0], block[1]) if k % 2 == 0 else uniform(block[2], block[3])
            current[k] = _next_state(program, current, k, value)
        tokens[t] = current[nodes - 1]
        states[:, t] = current[: nodes - 1]


@compiled
def _start(program, current, value):
    joint = _search(program.initial, 0, program.initial.size, value)
    for k in range(current.size - 1, -1, -1):
        current[k] = joint % program.num_states[k]
        joint //= program.num_states[k]


@compiled
def _next_state(program, current, k, value):
    row = current[k] * program.own_stride[k]
    for edge in range(program.first_edge[k], program.first_edge[k + 1]):
        row += current[program.parent[edge]] * program.parent_stride[edge]
    size = program.num_states[k]
    return _search(program.cdf, program.offset[k] + row * size, size, value)


def draw_numpy(
    program: Program, key, start: int, count: int, length: int, latents: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The readable twin of ``draw``: one numpy statement a node and time step, over all sequences at once."""
    tokens, states = _empty(program, count, length, latents)
    index = np.arange(start, start + count).astype(np.uint64)
    current = np.zeros((len(program.num_states), count), np.int64)
    if program.initial.size:
        block = philox.py_func(index & _MASK, index >> _HALF, np.uint64(0), np.uint64(0), *key)
        joint = np.searchsorted(program.initial, uniform.py_func(*block[:2]), side="right")
        current = np.array(np.unravel_index(joint, program.num_states))
        tokens[:, 0] = current[-1]
        if latents:
            states[:, :, 0] = current[:-1]
    for t in range(1, length):
        for k, size in enumerate(program.num_states):
            counter = index & _MASK, index >> _HALF, np.uint64(t), np.uint64(k // 2)
            block = philox.py_func(*counter, *key)
            value = uniform.py_func(*(block[:2] if k % 2 == 0 else block[2:]))
            edges = slice(program.first_edge[k], program.first_edge[k + 1])
            row = current[k] * program.own_stride[k] + program.parent_stride[edges] @ current[program.parent[edges]]
            columns = (program.offset[k] + row * size)[:, None] + np.arange(size)  # (count, size)
            current[k] = (value[:, None] >= program.cdf[columns]).sum(axis=1)
        tokens[:, t] = current[-1]
        if latents:
            states[:, :, t] = current[:-1]
    return tokens, states
