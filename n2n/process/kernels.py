"""Kernels: draw them from Dirichlet distributions, or check explicit tables."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.context_kernels import fill_logarithms, normalise
from n2n.utils.arrays import SUM_TOLERANCE, probabilities
from n2n.utils.compilation import compiled
from n2n.utils.cpu import cores, run_parts
from n2n.utils.philox import derive_key
from n2n.utils.strict import unknown_name_message

_ENTRIES_PER_THREAD = 2**13  # of kernels, which take about half a millisecond


def draw_kernel(graph: Graph, node: Node, seed: int) -> np.ndarray:
    """Draw a node's fixed kernel, keyed by (seed, node name); the array is read-only.

    Each entry has its own random numbers, so a small change of alpha changes the kernel only a little.
    """
    (table,) = _draw(graph, node, np.zeros(1, np.uint64), np.array(derive_key("kernel", int(seed), node.name)))
    table = _apply_mode(table, node.mode)
    if node.stickiness:
        staying = np.eye(node.num_states)
        staying = staying.reshape(node.num_states, *[1] * len(node.parents), node.num_states)
        table = node.stickiness * staying + (1 - node.stickiness) * table
    table.setflags(write=False)
    return table


def draw_context_kernels(graph: Graph, sets: np.ndarray, keys: np.ndarray) -> dict[str, np.ndarray]:
    """Draw all rows of the kernels of context nodes, ``{name: (count, own, parents.., new)}``, on all cores.

    The sampler draws only the rows that it needs.

    Args:
        graph: the graph.
        sets: ``(count,)``, indices of the sets of kernels.
        keys: ``(nodes, 2)``, the two words that key each node, in the graph's order.
    """
    keyed, indices = zip(graph.order, keys, strict=True), sets.astype(np.uint64)
    redrawn = [(node, key) for node, key in keyed if node.redrawn]
    return {node.name: _draw(graph, node, indices, key, node.stickiness) for node, key in redrawn}


def _draw(graph: Graph, node: Node, indices: np.ndarray, key: np.ndarray, stickiness: float = 0.0) -> np.ndarray:
    sizes, states = graph.sizes_seen(node), node.num_states
    table = np.zeros((len(indices), *sizes, states))
    factors = np.empty((len(indices), sum(sizes), states)) if node.kernel == "product" else table
    threads = min(cores(), 1 + factors.size // _ENTRIES_PER_THREAD)
    parts = np.array_split(np.arange(len(indices)), threads)

    def draw(part: np.ndarray) -> None:
        part = slice(part[0], part[-1] + 1)
        rows = factors[part].reshape(part.stop - part.start, -1, states)
        _fill_logarithms(rows, node.alpha, indices[part], key[0], key[1])
        if node.kernel == "product":
            for axis, factor in enumerate(np.split(rows, np.cumsum(sizes)[:-1], axis=1)):
                others = [1 + other for other in range(len(sizes)) if other != axis]
                table[part] += np.expand_dims(factor, others)
        _normalise_rows(table[part].reshape(-1, states), stickiness, prod(sizes[1:]), sizes[0])

    run_parts(draw, [part for part in parts if len(part)], threads)
    return table


@compiled
def _fill_logarithms(rows, alpha, indices, key_0, key_1):
    for i in range(indices.size):
        fill_logarithms(rows[i], alpha, indices[i], key_0, key_1)


@compiled
def _normalise_rows(rows, stickiness, rows_of_own, own_states):
    for row in range(rows.shape[0]):
        normalise(rows[row], stickiness, row // rows_of_own % own_states)


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
    if node.frozen and not np.array_equal(table, np.eye(node.num_states)):
        raise ValueError(f"{node.name}: stickiness 1 freezes the latent, so its table must be the identity matrix")
    sums = table.sum(axis=-1)
    worst = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
    if not abs(sums[worst] - 1) < SUM_TOLERANCE:
        row = tuple(int(i) for i in worst)
        raise ValueError(f"{node.name}: row {row} sums to {sums[worst]:.9g}; each row must sum to 1")
    table.setflags(write=False)
    return table
