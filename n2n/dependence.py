"""How much the two ends of each edge tell of one another: exact mutual information."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from n2n.checks import check_fixed, check_process
from n2n.contraction import emitting, law_step, x_is_seen
from n2n.graph import Graph
from n2n.process import Process
from n2n.stationary import BUDGET
from n2n.strict import whole

Edge = tuple[str, str, int]  # (parent, child, lag)


def edge_information(process: Process, length: int | None = None) -> pd.DataFrame:
    """The mutual information of the two ends of every edge, nats, exact.

    An edge with lag 0 joins a parent at t with its child at t, one with lag 1 a node at t - 1 with itself or another
    at t. It is what the pair shares by whatever way: other paths between the two add to what the edge carries. And 0
    does not make an edge idle: of a child that is the exclusive or of two fair parents, neither alone tells anything.

    Args:
        process: with fixed kernels.
        length: of the sequences, from the process's own start, at a time t of which, any from 1 to T - 1 alike, the
            ends are looked at; None: once the process is stationary, which its own start has no part in. A process
            that forgets slowly need not come near that law within a sequence, and it may not be found.

    Returns:
        a row for each edge, the loops of the nodes that see themselves included, in the order of ``graph.order`` and of
        the kernels' axes: ``parent``, ``child``, ``lag`` (0 or 1) and ``information``, nats, from 0 on.

    Raises:
        ValueError: kernels that are redrawn for every sequence, a length under 2, a law too large for 1 GiB, or a
            stationary law that is not reached.

    Source: Cover and Thomas, "Elements of information theory" (2006), section 2.3.
    """
    before, after = laws(process, length)
    names, found = [node.name for node in process.graph.order], {}
    for parent in names:
        later = [child for seen, child, lag in edges(process.graph) if seen == parent and lag]
        found |= {(parent, child, 1): law for child, law in one_step_apart(process, before, parent, later).items()}
    for parent, child, lag in edges(process.graph):
        if not lag:  # a parent comes before its child in the order, so that its states are the rows
            found[parent, child, lag] = marginal(after, (names.index(parent), names.index(child)))
    rows = [(*edge, information(found[edge])) for edge in edges(process.graph)]
    return pd.DataFrame(rows, columns=["parent", "child", "lag", "information"])


def edges(graph: Graph) -> list[Edge]:
    """Every edge of a graph, the loops of nodes that see themselves included, by child in topological order."""
    found = []
    for node in graph.order:
        found += [(node.name, node.name, 1)] if node.sees_itself else []
        found += [(parent, node.name, int(parent == graph.observed.name)) for parent in node.parents]
    return found


def laws(process: Process, length: int | None) -> tuple[np.ndarray, np.ndarray]:
    """P(z, x) at t - 1 and at t, ``(n_1, .., n_K, V)`` in the graph's order, for a t as ``edge_information`` says.

    Raises:
        ValueError: as ``edge_information``.
    """
    check_process(process)
    check_fixed(process.graph)
    if length is None:
        law = process.with_initial("stationary").initial_law
        return law, law
    length, sizes = whole("length", length, 2), [node.num_states for node in process.graph.order]
    entries = process.graph.num_joint_states * process.graph.vocab_size
    if 8 * entries > BUDGET:
        raise ValueError(f"graph: the law of {entries} joint values takes {8 * entries} bytes, more than {BUDGET}")
    law = process.initial_law
    if law is None:
        law = np.zeros(sizes)
        law[(0,) * len(sizes)] = 1.0
    total = law.copy()
    for _ in range(length - 2):
        law = step(process, law)
        total += law
    before = total / (length - 1)
    return before, step(process, before)


def step(process: Process, law: np.ndarray) -> np.ndarray:
    """P(z_t, x_t) from P(z_{t-1}, x_{t-1}), or from a part of it: what it sums to stays."""
    graph = process.graph
    moving = law if x_is_seen(graph) else law.sum(axis=-1)
    for node, equation in law_step(graph):
        moving = np.einsum(equation, moving, process.kernel(node.name))
    return moving if x_is_seen(graph) else np.einsum(emitting(graph), moving, process.kernel(graph.observed.name))


def one_step_apart(process: Process, law: np.ndarray, earlier: str, later: Sequence[str]) -> dict[str, np.ndarray]:
    """P(a node at t - 1, another at t), ``(n, m)``, for each of the ``later`` ones, from P(z, x) at t - 1.

    The law moves on from one state of the earlier node after another.
    """
    names = [node.name for node in process.graph.order]
    axis, rows = names.index(earlier), {name: [] for name in later}
    for state in range(process.graph[earlier].num_states if later else 0):
        there = (slice(None),) * axis + (state,)
        part = np.zeros_like(law)
        part[there] = law[there]
        moved = step(process, part)
        for name in later:
            rows[name].append(marginal(moved, (names.index(name),)))
    return {name: np.stack(found) for name, found in rows.items()}


def marginal(law: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The law of some axes, in their order in ``law``."""
    return law.sum(axis=tuple(axis for axis in range(law.ndim) if axis not in axes))


def information(joint: np.ndarray) -> float:
    """The mutual information of rows and columns under a joint law ``(n, m)``, nats, from 0 on."""
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    some = joint > 0
    logarithms = [np.log(np.where(some, law, 1.0)) for law in (joint, rows, columns)]
    return max(0.0, float((joint * (logarithms[0] - logarithms[1] - logarithms[2])).sum()))
