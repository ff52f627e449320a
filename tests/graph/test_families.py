import re

import networkx as nx
import numpy as np
import pytest

from n2n.graph.families import MAX_LATENTS
from n2n.graph.graph import Graph
from n2n.graph.presets import ALPHA_X, ALPHA_Z


def latent_view(graph: Graph) -> nx.DiGraph:
    return graph.networkx().subgraph(list(graph.latent_names))


def test_independent_chains_equal_the_presets():
    for name, chains, states in (("two_chains", 2, 16), ("four_chains", 4, 4), ("eight_chains", 8, 2)):
        assert Graph.independent(chains, states).nodes == Graph.preset(name).nodes


def test_a_chain_is_a_path():
    graph = Graph.chain(5)
    assert list(nx.topological_sort(graph.networkx())) == ["Z1", "Z2", "Z3", "Z4", "Z5", "X"]
    assert nx.is_isomorphic(graph.networkx(), nx.path_graph(6, create_using=nx.DiGraph))


@pytest.mark.parametrize(("depth", "branching"), [(1, 1), (1, 5), (3, 2), (2, 3)])
def test_a_tree_is_balanced_and_x_depends_on_its_leaves(depth, branching):
    graph = Graph.tree(depth, branching)
    tree = latent_view(graph)
    assert nx.is_arborescence(tree)
    assert nx.is_isomorphic(tree, nx.balanced_tree(branching, depth, create_using=nx.DiGraph))
    depths = nx.single_source_shortest_path_length(tree, "Z1")
    assert set(graph.observed.parents) == {name for name in tree if depths[name] == depth}


@pytest.mark.parametrize("seed", range(5))
def test_every_latent_of_a_random_dag_reaches_x(seed):
    graph = Graph.random_dag(9, 0.3, seed)
    assert nx.is_directed_acyclic_graph(graph.networkx())
    assert nx.ancestors(graph.networkx(), "X") == {f"Z{i}" for i in range(1, 10)}
    sinks = {name for name, degree in latent_view(graph).out_degree() if degree == 0}
    assert set(graph.observed.parents) == sinks


def test_a_random_dag_has_edges_with_the_given_probability():
    edges = np.zeros((12, 12))
    for seed in range(400):
        for parent, child in latent_view(Graph.random_dag(12, 0.3, seed)).edges:
            edges[int(parent[1:]) - 1, int(child[1:]) - 1] += 1 / 400
    earlier = np.triu_indices(12, 1)
    assert edges.sum() == pytest.approx(edges[earlier].sum())  # none from a later to an earlier latent
    assert edges[earlier].mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / (400 * 66)))
    assert np.abs(edges[earlier] - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 400)


def test_a_random_dag_is_a_function_of_its_seed():
    edges = sorted(f"{a}>{b}" for a, b in latent_view(Graph.random_dag(5, 0.4, 0)).edges)
    assert edges == [
        "Z1>Z2",
        "Z1>Z3",
        "Z1>Z4",
        "Z2>Z5",
        "Z3>Z4",
        "Z3>Z5",
        "Z4>Z5",
    ]  # recorded
    assert Graph.random_dag(8, 0.4, 0) != Graph.random_dag(8, 0.4, 1).model_copy(update={"name": "dag_8_0.4_0"})
    small, large = Graph.random_dag(6, 0.4, 3), Graph.random_dag(9, 0.4, 3)
    assert small.latents == large.nodes[:6]


def test_probabilities_zero_and_one():
    assert latent_view(Graph.random_dag(6, 1, 0)).number_of_edges() == 15
    assert Graph.random_dag(6, 0, 0).nodes == Graph.independent(6).nodes


def test_options_reach_the_nodes():
    default = Graph.tree(1, 2)
    assert [node.alpha for node in default.nodes] == [ALPHA_Z] * 3 + [ALPHA_X]
    options = {"alpha_z": 0.5, "alpha_x": 2.0, "kernel": "product", "mode": "slow", "stickiness": 0.25}
    graph = Graph.chain(2, 3, 5, **options, initial="uniform")
    (first, second), x = graph.latents, graph.observed
    for node in (first, second):
        assert (node.num_states, node.alpha, node.kernel) == (3, 0.5, "product")
        assert (node.mode, node.stickiness) == ("slow", 0.25)
    assert (x.num_states, x.alpha, x.kernel, x.mode, x.stickiness) == (5, 2.0, "product", "default", 0.0)
    assert (graph.initial, graph.name, graph.pool) == ("uniform", "chain_2", None)
    assert Graph.chain(2, mode="context", pool=8).pool == 8


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Graph.independent(0), "chains: saw 0; it must be greater than 0"),
        (lambda: Graph.chain(MAX_LATENTS + 1), f"length: saw {MAX_LATENTS + 1}"),
        (lambda: Graph.chain(2, vocab_size=0), "vocab_size: saw 0"),
        (lambda: Graph.chain(2, alpha_x=-1), "alpha_x: saw -1"),
        (lambda: Graph.chain(2, alpha=0.1), "unknown parameter 'alpha'; did you mean 'alpha_"),
        (lambda: Graph.chain(2, kernel="produkt"), "did you mean 'product'"),
        (lambda: Graph.chain(2, initial="unifrom"), "did you mean 'uniform'"),
        (lambda: Graph.tree(0, 2), "depth: saw 0"),
        (lambda: Graph.tree(200, 200), "depth 200 and branching 200 make more latents than the 256 allowed"),
        (lambda: Graph.random_dag(3, 1.5, 0), "probability: saw 1.5; it must be less than or equal to 1"),
        (lambda: Graph.random_dag(3, 0.5, -1), "seed: saw -1"),
    ],
)
def test_invalid_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
