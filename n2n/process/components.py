"""Frozen latents: their law at t = 0, and the components of a process, one for each of their joint states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from n2n.graph.graph import Graph
from n2n.graph.node import Node


class Component(NamedTuple):
    """A process given the states of its frozen latents. In a non-ergodic process, a sequence shows one component only.

    Attributes:
        probability: probability of the states.
        states: the state of each frozen latent, by name.
        graph: the graph, in which the frozen latents have one state each.
        kernels: the fixed kernels, by name.
    """

    probability: float
    states: dict[str, int]
    graph: Graph
    kernels: dict[str, np.ndarray]


def latent_law(graph: Graph) -> np.ndarray:
    """Return P(z_0) of independent latents, ``(n_1, .., n_K)``: of the graph's ``initial="uniform"``.

    A latent is uniform unless it has an ``initial`` of its own.
    """
    law = np.full(graph.latent_sizes, 1.0 / graph.num_joint_states)
    for axis, node in enumerate(graph.latents):
        if node.initial is not None:
            law *= np.expand_dims(node.num_states * own_law(node), [k for k in range(law.ndim) if k != axis])
    return law


def own_law(node: Node) -> np.ndarray:
    """Return the law of a frozen latent, ``(n,)``."""
    law = np.ones(node.num_states) if node.initial is None else np.array(node.initial)
    return law / law.sum()


def components(graph: Graph, kernels: Mapping[str, np.ndarray]) -> Iterator[Component]:
    """Yield the components of positive probability; without frozen latents there is one, the process itself."""
    frozen = graph.frozen_latents
    laws = [own_law(node) for node in frozen]
    of_one_state = graph_of_component(graph)
    for states in np.ndindex(*(node.num_states for node in frozen)):
        probability = float(np.prod([law[state] for law, state in zip(laws, states, strict=True)]))
        if probability > 0:
            known = dict(zip((node.name for node in frozen), states, strict=True))
            given = {name: _given(graph[name], kernel, known) for name, kernel in kernels.items()}
            yield Component(probability, known, of_one_state, given)


def graph_of_component(graph: Graph) -> Graph:
    """Return the graph with one state for each frozen latent."""
    if not graph.frozen_latents:
        return graph
    one_state = {"num_states": 1, "stickiness": 0.0, "initial": None}
    return graph.model_copy(
        update={"nodes": [node.model_copy(update=one_state) if node.frozen else node for node in graph.nodes]}
    )


def _given(node: Node, kernel: np.ndarray, known: Mapping[str, int]) -> np.ndarray:
    """Return a node's kernel given the states of the frozen latents, whose axes keep one entry."""
    if node.name in known:
        return np.ones((1, 1))
    for axis, parent in enumerate(node.parents, start=int(node.sees_itself)):
        if parent in known:
            kernel = kernel.take([known[parent]], axis=axis)
    return kernel
