"""Processes with frozen latents, and their components, built from slices of their tables."""

import itertools
from math import prod

import numpy as np
from support.random_graphs import random_graph

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def frozen(name: str, num_states: int = 2, **fields) -> Node:
    return Node(name, num_states, stickiness=1, **fields)


SKEWED = frozen("R", 3, initial=[0.5, 0.3, 0.2])
CONSTANT = Node("C", 1)
NODES = {
    "draws": [SKEWED, Node("X", 3, ["R"], observed=True)],
    "chains": [SKEWED, Node("X", 3, ["R"], observed=True, recurrent=True)],
    "hidden Markov models": [frozen("R"), Node("Z", 3, ["R"]), Node("X", 3, ["Z"], observed=True)],
    "two frozen latents": [
        frozen("A", initial=[0.9, 0.1]),
        Node("Z", 2, ["A"]),
        frozen("B"),
        Node("X", 3, ["B", "Z"], observed=True, recurrent=True),
    ],
    "feedback": [frozen("R", initial=[0.0, 1.0]), Node("Z", 2, ["X", "R"]), Node("X", 3, ["R", "Z"], observed=True)],
}


def process_of(name: str, initial: str = "uniform", seed: int = 0) -> Process:
    return Process(Graph(nodes=NODES[name], initial=initial), seed)


def freeze(seed: int, initial: str) -> Process:
    """A random process in which every latent without parents is frozen; no kernel has tiny entries."""
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    nodes = [node.model_copy(update={"alpha": 2.0}) for node in graph.nodes]
    roots = [node for node in nodes if not (node.parents or node.observed)]
    for node in roots or [Node("F", 2)]:
        law = rng.dirichlet(np.ones(node.num_states)).tolist() if rng.random() < 0.5 else None
        kept = node.model_copy(update={"stickiness": 1.0, "initial": law})
        nodes = [kept, *(other for other in nodes if other.name != node.name)]
    if not roots:
        nodes = [n.model_copy(update={"parents": [*n.parents, "F"]}) if n.observed else n for n in nodes]
    return Process(Graph(nodes=nodes, initial=initial), seed)


def by_hand(process: Process) -> tuple[list[Process], list[float]]:
    """The process of each state of the frozen latents, without these nodes, and the probability of the state."""
    graph, kept = process.graph, [node for node in process.graph.nodes if not node.frozen]
    still = [node for node in graph.nodes if node.frozen]
    processes, weights = [], []
    for states in itertools.product(*(range(node.num_states) for node in still)):
        state, nodes, tables = dict(zip([node.name for node in still], states, strict=True)), [CONSTANT], {"C": [[1.0]]}
        for node in kept:
            names = [*([""] if node.sees_itself else []), *node.parents, ""]
            index = tuple(state.get(name, slice(None)) for name in names)
            parents, table = [name for name in node.parents if name not in state], process.kernel(node.name)[index]
            if node.observed and not parents and not node.recurrent:
                parents, table = ["C"], table[None]
            nodes.append(node.model_copy(update={"parents": parents}))
            tables[node.name] = table
        processes.append(Process.from_kernels(Graph(nodes=nodes, initial=graph.initial), tables, seed=1))
        laws = [node.initial or [1 / node.num_states] * node.num_states for node in still]
        weights.append(prod(law[s] for law, s in zip(laws, states, strict=True)))
    return processes, weights
