"""Kernels: draw them from Dirichlet distributions, or check explicit tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.context_kernels import log_gamma, normalise
from n2n.utils.arrays import SUM_TOLERANCE, probabilities
from n2n.utils.compilation import compiled
from n2n.utils.philox import derive_key
from n2n.utils.strict import unknown_name_message

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def draw_kernel(graph: Graph, node: Node, seed: int) -> np.ndarray:
    """Draw a node's fixed kernel, keyed by (seed, node name); the array is read-only.

    Each entry has its own random numbers, so a small change of alpha changes the kernel only a little.
    """
    table = _apply_mode(_rows(graph, node, 0, np.array(derive_key("kernel", int(seed), node.name))), node.mode)
    if node.stickiness:
        staying = np.eye(node.num_states)
        staying = staying.reshape(node.num_states, *[1] * len(node.parents), node.num_states)
        table = node.stickiness * staying + (1 - node.stickiness) * table
    table.setflags(write=False)
    return table


def sequence_kernel(graph: Graph, node: Node, index: int, key: np.ndarray) -> np.ndarray:
    """Draw all rows of a context node's kernel of the set ``index``; the sampler draws only those it needs."""
    return _rows(graph, node, index, key, node.stickiness)


def _rows(graph: Graph, node: Node, index: int, key: np.ndarray, stickiness: float = 0.0) -> np.ndarray:
    sizes = graph.sizes_seen(node)
    if node.kernel == "product":
        factors = np.empty((sum(sizes), node.num_states))
        _fill_logarithms(factors, node.alpha, np.uint64(index), key[0], key[1])
        table = np.zeros((*sizes, node.num_states))
        for axis, factor in enumerate(np.split(factors, np.cumsum(sizes)[:-1])):
            table += np.expand_dims(factor, [other for other in range(len(sizes)) if other != axis])
    else:
        table = np.empty((*sizes, node.num_states))
        _fill_logarithms(table.reshape(-1, node.num_states), node.alpha, np.uint64(index), key[0], key[1])
    _normalise_rows(table.reshape(-1, node.num_states), stickiness, prod(sizes[1:]))
    return table


@compiled
def _fill_logarithms(rows, alpha, index, key_0, key_1):
    low, high = index & _MASK, index >> _HALF
    for row in range(rows.shape[0]):
        for state in range(rows.shape[1]):
            entry = np.uint64(row * rows.shape[1] + state)
            rows[row, state] = log_gamma(alpha, low, high, entry, key_0, key_1)


@compiled
def _normalise_rows(rows, stickiness, rows_of_own):
    for row in range(rows.shape[0]):
        normalise(rows[row], stickiness, row // rows_of_own)


def _apply_mode(table: np.ndarray, mode: str) -> np.ndarray:
    """Exchange the largest entry of each row with the entry on the diagonal ("slow") or at state 0 ("dead")."""
    if mode == "default":
        return table
    rows = table.reshape(-1, table.shape[-1]).copy()
    indices = np.arange(len(rows))
    largest = rows.argmax(axis=-1)
    home = indices // (len(rows) // table.shape[0]) if mode == "slow" else np.zeros_like(indices)
    rows[indices, largest], rows[indices, home] = rows[indices, home], rows[indices, largest]
    return rows.reshape(table.shape)


def check_tables(graph: Graph, tables: Mapping[str, ArrayLike]) -> MappingProxyType[str, np.ndarray]:
    """Check explicit tables of all fixed kernels, and return them as read-only float64 arrays.

    Raises:
        ValueError: if a table is missing or is not a kernel of its node; the message gives the worst row.
    """
    redrawn = [node.name for node in graph.context_nodes]
    names = [name for name in graph.names if name not in redrawn]
    for name in tables:
        if name in redrawn:
            raise ValueError(f"kernels: saw a table for {name!r}, whose mode 'context' redraws it for every sequence")
        if name not in names:
            raise ValueError(f"kernels: {unknown_name_message('node', name, names)}")
    missing = [name for name in names if name not in tables]
    if missing:
        raise ValueError(f"kernels: saw no table for {missing}")
    return MappingProxyType(
        {node.name: _check_table(graph, node, tables[node.name]) for node in graph.nodes if node.name in names}
    )


def _check_table(graph: Graph, node: Node, table: ArrayLike) -> np.ndarray:
    table = probabilities(table, node.name)
    expected = (*graph.sizes_seen(node), node.num_states)
    if table.shape != expected:
        raise ValueError(f"{node.name}: saw a table of shape {table.shape}; {expected} is needed")
    if not (table >= 0).all():
        raise ValueError(f"{node.name}: saw an entry of {table[~(table >= 0)][0]}; entries are probabilities")
    sums = table.sum(axis=-1)
    worst = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
    if not abs(sums[worst] - 1) < SUM_TOLERANCE:
        row = tuple(int(i) for i in worst)
        raise ValueError(f"{node.name}: row {row} sums to {sums[worst]:.9g}; each row must sum to 1")
    table.setflags(write=False)
    return table
