"""Graphs drawn at random, and processes with given kernels."""

from types import MappingProxyType

import numpy as np

from n2n.graph import Graph, Node
from n2n.process import Process


def random_graph(seed: int) -> Graph:
    """Up to 3 latents of up to 3 states, with random edges, modes and kernels."""
    rng = np.random.default_rng(seed)
    names = [f"Z{i}" for i in range(rng.integers(1, 4))]

    def node(name: str, earlier: list[str], modes: list[str], **fields) -> Node:
        return Node(
            name=name,
            num_states=int(rng.integers(2, 4)),
            parents=[other for other in rng.permutation(earlier) if rng.random() < 0.7],
            mode=str(rng.choice(modes)),
            kernel=str(rng.choice(["full", "product"])),
            alpha=float(rng.choice([0.1, 1.0])),
            **fields,
        )

    nodes = [node(name, names[:i], ["default", "slow", "dead"]) for i, name in enumerate(names)]
    x = node("X", names, ["default", "dead"], observed=True)
    nodes.append(x if x.parents else x.model_copy(update={"parents": names[:1]}))
    return Graph(nodes=tuple(nodes[i] for i in rng.permutation(len(nodes))))


def with_kernels(graph: Graph, tables: dict[str, np.ndarray]) -> Process:
    """A process whose kernels are given, in the place where drawn ones would be kept."""
    process = Process(graph)
    process.__dict__["kernels"] = MappingProxyType({name: np.asarray(table, float) for name, table in tables.items()})
    return process


def chain_seen_through(transitions: np.ndarray, emissions: np.ndarray) -> Process:
    """A hidden Markov model with one latent node."""
    states, vocab_size = np.shape(emissions)
    nodes = (
        Node(name="Z", num_states=states),
        Node(name="X", num_states=vocab_size, parents=("Z",), observed=True),
    )
    return with_kernels(Graph(nodes=nodes), {"Z": transitions, "X": emissions})
