"""Readable reference of the compiled sampler: one numpy statement for each node and time step, over all sequences."""

from __future__ import annotations

import numpy as np

from n2n.process.sampler import NOTHING_DONE, empty_sample
from n2n.process.sampler_tables import Program
from n2n.utils.philox import philox, uniform

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def draw_numpy(
    program: Program, key, start: int, count: int, length: int, latents: bool, *, done: np.ndarray = NOTHING_DONE
) -> tuple[np.ndarray, np.ndarray]:
    """As ``sampler.draw``, for fixed kernels."""
    tokens, states = empty_sample(program, count, length, latents)
    index = np.arange(start, start + count).astype(np.uint64)
    current = np.zeros((len(program.num_states), count), np.int64)
    if program.initial.size:
        block = philox.py_func(index & _MASK, index >> _HALF, np.uint64(0), np.uint64(0), *key)
        joint = np.searchsorted(program.initial, uniform.py_func(*block[:2]), side="right")
        drawn = len(current) - (program.initial.size < np.prod(program.num_states))
        current[:drawn] = np.unravel_index(joint, program.num_states[:drawn])
        if drawn < len(current):
            current[-1] = _drawn(program, drawn, current, uniform.py_func(*block[2:]))
        tokens[:, 0] = current[-1]
        if latents:
            states[:, :, 0] = current[:-1]
    for t in range(1, length):
        for k in range(len(program.num_states)):
            counter = index & _MASK, index >> _HALF, np.uint64(t), np.uint64(k // 2)
            block = philox.py_func(*counter, *key)
            value = uniform.py_func(*(block[:2] if k % 2 == 0 else block[2:]))
            current[k] = _drawn(program, k, current, value)
            for _, _, state in done[(done[:, 0] == t) & (done[:, 1] == k)]:
                current[k] = state
        tokens[:, t] = current[-1]
        if latents:
            states[:, :, t] = current[:-1]
    return tokens, states


def _drawn(program: Program, k: int, current: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A node's new states ``(count,)`` from all nodes' states ``(nodes, count)`` and a number for each sequence."""
    size, edges = program.num_states[k], slice(program.first_edge[k], program.first_edge[k + 1])
    row = current[k] * program.own_stride[k] + program.parent_stride[edges] @ current[program.parent[edges]]
    columns = (program.offset[k] + row * size)[:, None] + np.arange(size)  # (count, size)
    return (value[:, None] >= program.cdf[columns]).sum(axis=1)
