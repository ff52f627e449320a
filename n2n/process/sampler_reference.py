"""Readable reference of the compiled sampler: one numpy statement over all sequences for each node and time step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from n2n.process.sampler import NO_INTERVENTIONS, empty_sample
from n2n.process.sampler_tables import Program
from n2n.utils.philox import philox, uniform

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
NO_TABLES: Mapping[int, np.ndarray] = MappingProxyType({})


def draw_numpy(
    program: Program,
    key,
    start: int,
    count: int,
    length: int,
    latents: bool,
    *,
    redrawn: Mapping[int, np.ndarray] = NO_TABLES,
    interventions: np.ndarray = NO_INTERVENTIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same as ``sampler.draw``, with whole redrawn kernels.

    Args:
        redrawn: for the position of each context node, the cumulative rows of each sequence, ``(count, rows, n)``.
        program, key, start, count, length, latents, interventions: as in ``sampler.draw``.
    """
    tokens, states = empty_sample(program, count, length, latents)
    index = np.arange(start, start + count).astype(np.uint64)
    current = np.zeros((len(program.num_states), count), np.int64)
    if program.initial.size:
        block = philox.py_func(index & _MASK, index >> _HALF, np.uint64(0), np.uint64(0), *key)
        joint = np.searchsorted(program.initial, uniform.py_func(*block[:2]), side="right")
        num_nodes = len(current) - (program.initial.size < np.prod(program.num_states))
        current[:num_nodes] = np.unravel_index(joint, program.num_states[:num_nodes])
        if num_nodes < len(current):
            current[-1] = _new_states(program, redrawn, num_nodes, current, uniform.py_func(*block[2:]))
        tokens[:, 0] = current[-1]
        if latents:
            states[:, :, 0] = current[:-1]
    for t in range(1, length):
        for k in range(len(program.num_states)):
            counter = index & _MASK, index >> _HALF, np.uint64(t), np.uint64(k // 2)
            block = philox.py_func(*counter, *key)
            value = uniform.py_func(*(block[:2] if k % 2 == 0 else block[2:]))
            current[k] = _new_states(program, redrawn, k, current, value)
            for _, _, state in interventions[(interventions[:, 0] == t) & (interventions[:, 1] == k)]:
                current[k] = state
        tokens[:, t] = current[-1]
        if latents:
            states[:, :, t] = current[:-1]
    return tokens, states


def _new_states(
    program: Program, redrawn: Mapping[int, np.ndarray], k: int, current: np.ndarray, value: np.ndarray
) -> np.ndarray:
    """Draw new states of a node ``(count,)`` from all states ``(nodes, count)`` and a number for each sequence."""
    size, edges = program.num_states[k], slice(program.first_edge[k], program.first_edge[k + 1])
    row = current[k] * program.own_stride[k] + program.parent_stride[edges] @ current[program.parent[edges]]
    if k in redrawn:
        cdf = redrawn[k][np.arange(len(row)), row]  # (count, size)
    else:
        cdf = program.cdf[(program.offset[k] + row * size)[:, None] + np.arange(size)]
    return (value[:, None] >= cdf).sum(axis=1)
