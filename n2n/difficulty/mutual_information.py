"""Exact mutual information between the two ends of each edge.

The joint distributions are contracted one kernel at a time. General packages for discrete information theory, such as
``dit``, start from the table of the whole joint distribution.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pandas as pd

from n2n.difficulty.markov import stationary
from n2n.oracle.checks import check_fixed, check_process
from n2n.process.einsums import BATCH, backward, emitting, law_step
from n2n.process.initial_law import check_law, law_after_step, token_law
from n2n.process.process import Process
from n2n.utils.strict import as_integer

MAX_BYTES = 2**26  # bytes of the tables one step ahead that are stored at once, at most


def edge_information(process: Process, length: int | None = None) -> pd.DataFrame:
    """Mutual information between the two ends of every edge, nats, exact.

    An edge with lag 0 joins a parent at t to its child at t; an edge with lag 1 joins a node at t - 1 to itself or
    another node at t. The mutual information includes what the pair shares through other paths. A value of 0 does not
    imply that an edge has no effect: if a child is the exclusive or of two fair parents, it is independent of each
    parent.

    Args:
        process: with fixed kernels.
        length: tokens in a sequence from the process's own start. The information at t is averaged over t = 1 .. T - 1,
            so ends that only drift in parallel share nothing. None uses the stationary distribution, which does not
            depend on the process's own start. A process that forgets slowly may be far from it within a sequence.

    Returns:
        A row for each edge, including the loops of nodes that see themselves, in the order of ``graph.order`` and of
        the kernels' axes: ``parent``, ``child``, ``lag`` (0 or 1) and ``information``, nats, at least 0.

    Raises:
        ValueError: if kernels are redrawn for every sequence, the length is under 2, a distribution exceeds 1 GiB, or
            the stationary distribution cannot be computed.

    Source: Cover and Thomas, "Elements of information theory" (2006), section 2.3.
    """
    first, steps = first_law(process, length), 1 if length is None else length - 1
    names = process.graph.names
    totals = dict.fromkeys(process.graph.edges_with_lag, 0.0)
    for law in islice(laws(process, first, steps), 1, None):
        for parent, child, lag in totals:
            if not lag:  # parents precede children in the order, so the parent's states are the rows
                totals[parent, child, lag] += information(marginal(law, (names.index(parent), names.index(child))))
    for name in names:
        parents = [parent for parent, child, lag in totals if child == name and lag]
        for parent, pairs in one_step_apart(process, first, steps, parents, name).items():
            totals[parent, name, 1] = sum(information(pair) for pair in pairs)
    rows = [(*edge, total / steps) for edge, total in totals.items()]
    return pd.DataFrame(rows, columns=["parent", "child", "lag", "information"])


def first_law(process: Process, length: int | None) -> np.ndarray:
    """P(z_0, x_0), ``(n_1, .., n_K, V)`` in the graph's order; the stationary distribution if the length is None.

    Raises:
        ValueError: as ``edge_information``.
    """
    if length is None:
        return stationary(process).initial_law
    check_process(process)
    check_fixed(process.graph)
    as_integer("length", length, 2)
    check_law(process.graph, "graph")
    if process.initial_law is not None:
        return process.initial_law
    law = np.zeros([node.num_states for node in process.graph.order])
    law[(0,) * law.ndim] = 1.0
    return law


def laws(process: Process, law: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """P(z_t, x_t) for t = 0 .. steps, from ``law`` at t = 0."""
    graph = process.graph
    yield law
    for _ in range(steps):
        moving = law if graph.uses_previous_token else law.sum(axis=-1)
        law = token_law(graph, process.kernels, law_after_step(graph, process.kernels, moving))
        yield law


def one_step_apart(
    process: Process, law: np.ndarray, steps: int, earlier: Sequence[str], later: str
) -> dict[str, np.ndarray]:
    """P(each of the ``earlier`` nodes at t - 1, the ``later`` one at t), ``(steps, n, m)``, for t = 1 .. steps.

    ``law`` is P(z_0, x_0). The transition from t - 1 to t does not depend on t and is computed once.
    """
    graph = process.graph
    names, letters = graph.names, string.ascii_letters[1 : law.ndim + 1]
    pairs = {name: np.zeros((steps, graph[name].num_states, graph[later].num_states)) for name in earlier}
    at_once = max(1, MAX_BYTES // (8 * law.size))
    for start in range(0, graph[later].num_states if earlier else 0, at_once):
        states = slice(start, start + at_once)
        table = ahead(process, later, states)
        for t, before in enumerate(laws(process, law, steps - 1)):
            for name, joint in pairs.items():
                kept = before if graph.uses_previous_token or name == graph.observed.name else before.sum(axis=-1)
                parent = letters[names.index(name)]
                equation = f"{letters[: kept.ndim]},{letters[: table.ndim - 1]}{BATCH}->{parent}{BATCH}"
                joint[t, :, states] = np.einsum(equation, kept, table)
    return pairs


def ahead(process: Process, name: str, states: slice) -> np.ndarray:
    """P(a node in some states at t | z_{t-1}, x_{t-1}), ``(n_1, .., n_K, V, states)``; no V if no node sees X.

    The steps of ``laws`` are applied backwards.
    """
    graph = process.graph
    axis, sizes = graph.names.index(name), [node.num_states for node in graph.order]
    chosen = np.eye(sizes[axis])[:, states]
    shape = [1] * len(sizes) + [chosen.shape[1]]
    shape[axis] = sizes[axis]
    table = np.broadcast_to(chosen.reshape(shape), (*sizes, chosen.shape[1]))
    back = [*law_step(graph), *([] if graph.uses_previous_token else [(graph.observed, emitting(graph))])]
    for node, equation in reversed(back):
        equation, lost = backward(equation, BATCH)
        table = np.einsum(equation, table, process.kernel(node.name))
        if lost:
            table = np.broadcast_to(table[..., None, :], (*sizes, chosen.shape[1]))
    return table


def marginal(law: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The marginal over some axes, in their order in ``law``."""
    return law.sum(axis=tuple(axis for axis in range(law.ndim) if axis not in axes))


def information(joint: np.ndarray) -> float:
    """Mutual information of rows and columns under a joint distribution ``(n, m)``, nats, at least 0.

    The sum uses differences of logarithms instead of ``scipy.special.rel_entr(joint, rows * columns)``, whose product
    underflows for the tiny probabilities of small concentrations.
    """
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    some = joint > 0
    logarithms = [np.log(np.where(some, law, 1.0)) for law in (joint, rows, columns)]
    return max(0.0, float((joint * (logarithms[0] - logarithms[1] - logarithms[2])).sum()))
