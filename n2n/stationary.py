"""The law of a process at its first time step; the stationary one by power iteration, node by node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from n2n.contraction import emitting, law_step, x_is_seen
from n2n.graph import Graph

RESIDUAL = 1e-12  # largest sum of absolute changes in one step of the law that is returned
ITERATIONS = 20_000
BUDGET = 2**30  # bytes


def initial_law(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """P(z_0, x_0) as ``(n_1, .., n_K, V)``, float64, or None for "zero", where all mass is on the first entry.

    Raises:
        ValueError: a law too large for 1 GiB, or a stationary one that is not reached: the process forgets too slowly.
    """
    if graph.initial == "zero":
        return None
    check_law(graph, "initial")
    if graph.initial == "uniform":
        return np.full([node.num_states for node in graph.order], 1.0 / (graph.num_joint_states * graph.vocab_size))
    return emitted(graph, kernels, _stationary(graph, kernels))


def check_law(graph: Graph, what: str) -> None:
    """Raise a ``ValueError`` about ``what`` if a law over all nodes is too large for 1 GiB."""
    entries = graph.num_joint_states * graph.vocab_size
    if 8 * entries > BUDGET:
        raise ValueError(f"{what}: the law of {entries} joint values takes {8 * entries} bytes, more than {BUDGET}")


def moved(graph: Graph, kernels: Mapping[str, np.ndarray], law: np.ndarray) -> np.ndarray:
    """A law over the latents, and over X where the previous token is seen, one time step on."""
    for node, equation in law_step(graph):
        law = np.einsum(equation, law, kernels[node.name])
    return law


def emitted(graph: Graph, kernels: Mapping[str, np.ndarray], law: np.ndarray) -> np.ndarray:
    """The law over all nodes that follows from such a one."""
    return law if x_is_seen(graph) else np.einsum(emitting(graph), law, kernels[graph.observed.name])


def _stationary(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The law that a step leaves as it is, over the latents, and over X where the previous token is seen.

    Each iteration averages the law with its image, which a cycle cannot hold up. Where several laws are stationary it
    is the one that the uniform law leads to.
    """
    law = np.ones([node.num_states for node, _ in law_step(graph)])
    law /= law.size
    for _ in range(ITERATIONS):
        image = moved(graph, kernels, law)
        change = np.abs(image - law).sum()
        law = 0.5 * (law + image)
        if change < RESIDUAL:
            return law / law.sum()
    raise ValueError(
        f"initial: the stationary law still changes by {change:.2g} a step after {ITERATIONS} of them; "
        "the process forgets too slowly, so use 'zero' or 'uniform'"
    )
