"""Graphs that merge all latents into one chain."""

import numpy as np
import pytest
from scipy.special import xlogy

import n2n
from n2n.difficulty.blind_graphs import blind_process
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def row_entropy(graph: Graph, name: str, seeds: range) -> float:
    kernels = np.array([Process(graph, seed).kernel(name) for seed in seeds])
    return -xlogy(kernels, kernels).sum(-1).mean()


def test_one_chain_is_its_own_blind_graph():
    graph = Graph.independent(1, 8, alpha_z=0.05, alpha_x=0.02)
    blind = n2n.blind_graph(graph)
    assert blind["Z"].num_states == 8
    assert blind["Z"].alpha == pytest.approx(0.05, rel=1e-6)
    assert blind["X"].alpha == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"stickiness": 0.5}, {"kernel": "product"}])
def test_rows_have_the_entropy_of_the_joint_rows(options):
    graph = Graph.independent(3, 4, 8, alpha_z=0.3, alpha_x=0.1, **options)
    blind, seeds = n2n.blind_graph(graph), range(100, 164)
    assert blind["Z"].num_states == 64
    joint = sum(row_entropy(graph, name, seeds) for name in graph.latent_names)
    assert row_entropy(blind, "Z", seeds) == pytest.approx(joint, rel=0.05)
    assert row_entropy(blind, "X", seeds) == pytest.approx(row_entropy(graph, "X", seeds), rel=0.05)


def test_edges_from_x_stay():
    nodes = (
        Node(name="A", num_states=2, parents=("X",)),
        Node(name="B", num_states=3, parents=("A",)),
        Node(name="X", num_states=4, parents=("B",), observed=True, recurrent=True),
    )
    blind = n2n.blind_graph(Graph(nodes=nodes, initial="uniform", name="loop"))
    assert (blind["Z"].num_states, blind["Z"].parents, blind.initial, blind.name) == (
        6,
        ("X",),
        "uniform",
        "loop_blind",
    )
    assert (blind["X"].parents, blind["X"].recurrent) == (("Z",), True)


def test_graphs_that_cannot_be_merged_are_refused():
    with pytest.raises(ValueError, match="saw no latents"):
        n2n.blind_graph(Graph(nodes=(Node(name="X", num_states=2, observed=True, recurrent=True),)))
    with pytest.raises(ValueError, match=r"mode 'context' redraws the kernels of \['Z1', 'Z2'\]"):
        n2n.blind_graph(Graph.independent(2, mode="context"))


@pytest.mark.parametrize(
    "graph",
    [
        n2n.Graph.independent(3, num_states=3, vocab_size=5),
        Graph(
            nodes=(
                Node(name="A", num_states=2),
                Node(name="B", num_states=3, parents=("A",)),
                Node(name="C", num_states=2, parents=("A", "B")),
                Node(name="X", num_states=5, parents=("C", "A"), observed=True),
            )
        ),
        Graph(
            nodes=(
                Node(name="A", num_states=2),
                Node(name="X", num_states=5, parents=("A",), observed=True, recurrent=True),
            )
        ),
    ],
)
def test_the_blind_process_gives_every_token_the_same_probability(graph):
    process = n2n.Process(graph, seed=3)
    tokens = process.sample(4, length=12).tokens
    blind = blind_process(process)
    assert blind.graph == n2n.blind_graph(graph)
    np.testing.assert_allclose(n2n.filter(blind, tokens).nll, n2n.filter(process, tokens).nll, atol=1e-12)
