"""Positions of nodes: no edge crosses a node, and nodes of a layer do not overlap."""

import numpy as np
import pytest

from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.viz.graphs.graph_layout import layout, radius

GRAPHS = {name: Graph.preset(name) for name in PRESETS} | {
    graph.name: graph
    for graph in (Graph.chain(8), Graph.tree(3, 2), *(Graph.random_dag(8, 0.4, seed) for seed in range(8)))
}


@pytest.mark.parametrize("name", GRAPHS)
def test_no_edge_crosses_a_node(name):
    graph, positions = GRAPHS[name], layout(GRAPHS[name])
    for parent, child in graph.networkx().edges:
        assert positions[parent][1] > positions[child][1]  # all arrows point down
    for parent, child in graph.networkx().edges:
        tail, head = np.array(positions[parent]), np.array(positions[child])
        for other in set(positions) - {parent, child}:
            along = np.clip((np.array(positions[other]) - tail) @ (head - tail) / ((head - tail) @ (head - tail)), 0, 1)
            distance = np.linalg.norm(tail + along * (head - tail) - np.array(positions[other]))
            assert distance > radius(graph[other]) + 0.05


@pytest.mark.parametrize("name", GRAPHS)
def test_nodes_and_loops_do_not_overlap(name):
    graph, positions = GRAPHS[name], layout(GRAPHS[name])
    for left in graph.nodes:
        for right in graph.nodes:
            (x, y), (other_x, other_y) = positions[left.name], positions[right.name]
            if y == other_y and x < other_x:
                assert x + 1.7 * radius(left) < other_x - radius(right)


def test_a_tree_s_edges_do_not_cross():
    tree = Graph.tree(3, 2)
    positions = layout(tree)
    for level in range(1, 4):
        across = [positions[f"Z{i}"][0] for i in range(2**level, 2 ** (level + 1))]
        assert across == sorted(across)
