"""Kernels: drawn for a node from Dirichlet laws, or given as tables and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from n2n.context_rows import fill_row
from n2n.graph import Graph, Node
from n2n.philox import compiled
from n2n.strict import unknown

_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
SUM_TOLERANCE = 1e-8  # how far from 1 a given row may sum; it is normalised
ROUNDING = 1e-12  # how far the sum of float64 numbers may lie from 1 by rounding alone


def log_dirichlet(rng: np.random.Generator, alpha: float, shape: tuple[int, ...]) -> np.ndarray:
    """Logarithms of Dirichlet(alpha) rows along the last axis, exact for any small alpha.

    A Gamma(alpha) variable is a Gamma(alpha + 1) variable times U^(1/alpha), U uniform; logarithms do not underflow.
    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000), section 6.
    """
    log_gamma = np.log(rng.standard_gamma(alpha + 1.0, shape)) + np.log1p(-rng.random(shape)) / alpha
    return log_gamma - _logsumexp(log_gamma)


def _logsumexp(values: np.ndarray) -> np.ndarray:
    largest = values.max(axis=-1, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis=-1, keepdims=True))


def drawn(graph: Graph, node: Node, seed: int) -> np.ndarray:
    """A node's kernel, keyed by (seed, node name); read-only."""
    digest = hashlib.blake2b(repr(("kernel", int(seed), node.name)).encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    seen = graph.sizes_seen(node)
    draw_table = _log_full if node.kernel == "full" else _log_product
    table = np.exp(draw_table(rng, node.alpha, seen, node.num_states))
    table = _moved(table / table.sum(axis=-1, keepdims=True), node.mode)
    if node.stickiness:
        staying = np.eye(node.num_states).reshape(node.num_states, *[1] * (len(seen) - 1), node.num_states)
        table = node.stickiness * staying + (1 - node.stickiness) * table
    table.setflags(write=False)
    return table


def _log_full(rng: np.random.Generator, alpha: float, seen: list[int], num_states: int) -> np.ndarray:
    return log_dirichlet(rng, alpha, (*seen, num_states))


def _log_product(rng: np.random.Generator, alpha: float, seen: list[int], num_states: int) -> np.ndarray:
    total = np.zeros((*seen, num_states))
    for axis, size in enumerate(seen):
        factor = log_dirichlet(rng, alpha, (size, num_states))
        total += np.expand_dims(factor, [other for other in range(len(seen)) if other != axis])
    return total - _logsumexp(total)


def _moved(table: np.ndarray, mode: str) -> np.ndarray:
    """Each row with its largest entry exchanged with the one on the diagonal (slow) or at state 0 (dead)."""
    if mode == "default":
        return table
    rows = table.reshape(-1, table.shape[-1]).copy()
    every = np.arange(len(rows))
    largest = rows.argmax(axis=-1)
    home = every // (len(rows) // table.shape[0]) if mode == "slow" else np.zeros_like(every)
    rows[every, largest], rows[every, home] = rows[every, home], rows[every, largest]
    return rows.reshape(table.shape)


def checked(graph: Graph, tables: Mapping[str, ArrayLike]) -> MappingProxyType[str, np.ndarray]:
    """Given tables of every fixed kernel, as read-only float64 arrays, or a ``ValueError`` that names the worst row."""
    redrawn = [node.name for node in graph.context_nodes]
    names = [node.name for node in graph.nodes if node.name not in redrawn]
    for name in tables:
        if name in redrawn:
            raise ValueError(f"kernels: saw a table for {name!r}, whose mode 'context' redraws it for every sequence")
        if name not in names:
            raise ValueError(f"kernels: {unknown('node', name, names)}")
    missing = [name for name in names if name not in tables]
    if missing:
        raise ValueError(f"kernels: saw no table for {missing}")
    return MappingProxyType(
        {node.name: _checked_table(graph, node, tables[node.name]) for node in graph.nodes if node.name in names}
    )


def _checked_table(graph: Graph, node: Node, table: ArrayLike) -> np.ndarray:
    table = np.array(table, dtype=np.float64)
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
    if np.abs(sums - 1).max() > ROUNDING:  # a table that was drawn or normalised stays as it is, bit for bit
        table /= sums[..., None]
    table.setflags(write=False)
    return table


def sequence_kernel(graph: Graph, node: Node, index: int, key: np.ndarray) -> np.ndarray:
    """The kernel of a context node for the sequence of this index; every row, where the sampler draws those it sees."""
    seen = graph.sizes_seen(node)
    table = np.empty((*seen, node.num_states))
    states = np.indices(seen).reshape(len(seen), -1).T  # (rows, variables seen)
    factors = np.arange(len(states))[:, None]
    if node.kernel == "product":
        factors = states + np.cumsum([0, *seen[:-1]])
    own = states[:, 0] if node.sees_itself else np.zeros(len(states), np.int64)
    rows = table.reshape(-1, node.num_states)
    _fill_rows(rows, factors, node.alpha, node.stickiness, own, np.uint64(index), key[0], key[1])
    return table


@compiled
def _fill_rows(rows, factors, alpha, stickiness, own, index, key_0, key_1):
    low, high = index & _MASK, index >> _HALF
    for row in range(rows.shape[0]):
        fill_row(rows[row], factors[row], alpha, stickiness, own[row], low, high, key_0, key_1)
