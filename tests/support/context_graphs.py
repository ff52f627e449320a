"""Graphs with nodes whose kernels are redrawn for every sequence."""

import numpy as np
from support.random_graphs import random_graph

from n2n.graph.graph import Graph
from n2n.graph.node import Node


def latent(name: str, *parents: str, **fields) -> Node:
    return Node(**{"name": name, "num_states": 2, "parents": parents, "mode": "context", **fields})


def observed(*parents: str, **fields) -> Node:
    return Node(**{"name": "X", "num_states": 3, "parents": parents, "observed": True, "mode": "context", **fields})


GRAPHS = {
    "a latent": [latent("Z", alpha=0.5), observed("Z", mode="default")],
    "the emission": [latent("Z", mode="default"), observed("Z", alpha=0.5)],
    "two latents and an edge": [latent("A"), latent("B", "A", num_states=3), observed("B", "A", alpha=0.2)],
    "feedback": [latent("A", mode="default"), latent("B", "X", "A", alpha=0.2), observed("B", num_states=2)],
    "a recurrent X": [latent("Z", alpha=0.3), observed("Z", recurrent=True, num_states=2)],
    "a fixed product": [
        latent("A", alpha=0.4),
        latent("B", "X", "A", mode="default", kernel="product", num_states=3),
        observed("A", "B", mode="default", kernel="product", recurrent=True),
    ],
    "a product of one": [latent("Z", kernel="product", alpha=0.3), observed("Z", kernel="product")],
    "a sticky latent": [latent("Z", stickiness=0.6, alpha=0.3), observed("Z", alpha=0.5)],
    "a sticky child": [latent("A"), latent("B", "A", "X", stickiness=0.4), observed("A", "B", num_states=2, alpha=0.2)],
    "a sticky X alone": [observed(recurrent=True, stickiness=0.5, num_states=2, alpha=0.4)],
    "a sticky X": [latent("Z"), observed("Z", recurrent=True, stickiness=0.5, num_states=2)],
}
TINY = Graph(nodes=[latent("Z", alpha=0.2), observed("Z", alpha=0.2, num_states=2)])


def in_context(seed: int) -> Graph:
    """Return a random graph with most of its nodes in context mode."""
    rng, graph = np.random.default_rng(seed), random_graph(seed)
    redrawn = [node.name for node in graph.nodes if rng.random() < 0.7] or [graph.nodes[0].name]
    nodes = [n.model_copy(update={"mode": "context"}) if n.name in redrawn else n for n in graph.nodes]
    return Graph(nodes=nodes, initial=str(rng.choice(["zero", "uniform"])))
