"""Positions of nodes in the figure of a latent graph."""

from __future__ import annotations

import math
from itertools import product

import networkx as nx
import numpy as np

from n2n.graph.graph import Graph
from n2n.graph.node import Node

Point = tuple[float, float]

_LAYER_GAP, _MIN_LAYER_GAP, _NODE_GAP = 1.5, 1.1, 1.6  # in units of the axes
_WIDEST, _HIGHEST = 8.0, 8.0  # units for the nodes of a layer, and for all layers unless their gap is the smallest
_MARGIN = 0.1  # between an edge and a node that it passes
_MAX_WORK = 4000  # edges times nodes; for larger graphs no position is free of overlaps, and the search would be slow
_STEPS = np.arange(-8, 9) / 4  # shifts of a node that the search tries, in units


def radius(node: Node) -> float:
    """Radius of the node's disc."""
    return 0.24 + 0.035 * math.log2(node.num_states)


def layout(graph: Graph) -> dict[str, Point]:
    """Positions of the nodes, in layers by longest path from a root, with X in the last layer.

    Within a layer a node lies near its parents. No edge passes over a node if that is possible.
    """
    digraph = graph.networkx()
    digraph.remove_node(graph.observed.name)
    layers = [*map(list, nx.topological_generations(digraph)), [graph.observed.name]]
    down = max(_MIN_LAYER_GAP, min(_LAYER_GAP, _HIGHEST / max(1, len(layers) - 1)))
    names = [node.name for node in graph.nodes]
    place: dict[str, Point] = {}
    for depth, layer in enumerate(layers):
        # Roots, and children of the same parents, keep the order of the graph.
        middle = {
            name: np.mean([place[parent][0] for parent in graph[name].parents if parent in place] or 0.0)
            for name in layer
        }
        gap = min(_NODE_GAP, _WIDEST / len(layer))
        for i, name in enumerate(sorted(layer, key=lambda name: (middle[name], names.index(name)))):
            place[name] = ((i - (len(layer) - 1) / 2) * gap, -depth * down)
    return _clear(graph, place)


def _clear(graph: Graph, place: dict[str, Point]) -> dict[str, Point]:
    """Move nodes sideways, the most helpful move first, until no edge passes over a node or no move helps."""
    names, edges = list(place), graph.edges
    if len(edges) * len(names) > _MAX_WORK:
        return place
    points = np.array([place[name] for name in names])
    ends = np.array([[names.index(parent), names.index(child)] for parent, child in edges], int).reshape(-1, 2)
    discs = np.array([radius(graph[name]) for name in names])
    while (covered := _covered(points, ends, discs)) > 0:
        moves = []
        for i, step in product(range(len(names)), _STEPS):
            moved = points.copy()
            moved[i, 0] += step
            moves.append((_covered(moved, ends, discs), _length(moved, ends), i, moved[i, 0]))
        best = min(moves)
        if best[0] >= covered - 1e-9:
            break
        points[best[2], 0] = best[3]
    return dict(zip(names, map(tuple, points.tolist()), strict=True))


def _covered(points: np.ndarray, ends: np.ndarray, discs: np.ndarray) -> float:
    """Total depth, in units, by which edges and neighbours overlap the nodes' discs and their margins."""
    tails, ways = points[ends[:, 0]], points[ends[:, 1]] - points[ends[:, 0]]
    apart = points - tails[:, None]
    along = np.clip((apart * ways[:, None]).sum(-1) / (ways**2).sum(-1)[:, None], 0, 1)
    depth = discs + _MARGIN - np.linalg.norm(apart - along[..., None] * ways[:, None], axis=-1)
    np.put_along_axis(depth, ends, 0.0, axis=1)
    # A node with its loop extends 1.7 radii to the right, so neighbours in a layer need more room than their discs.
    pairs = 1.7 * discs[:, None] + discs + _MARGIN - np.abs(points[:, None, 0] - points[:, 0])
    pairs[points[:, None, 1] != points[:, 1]] = 0.0
    np.fill_diagonal(pairs, 0.0)
    return float(depth.clip(min=0).sum() + 2 * pairs.clip(min=0).sum())


def _length(points: np.ndarray, ends: np.ndarray) -> float:
    return float(np.linalg.norm(points[ends[:, 1]] - points[ends[:, 0]], axis=1).sum())
