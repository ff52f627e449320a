"""The kernels of a process as flat arrays, for the compiled particle filter."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
import torch

from n2n.graph.graph import Graph
from n2n.oracle.compiled.particle_vectors import GROUP
from n2n.oracle.learned.kernel_counts import Place, places
from n2n.process.components import latent_law
from n2n.process.initial_law import shows_latents_first
from n2n.process.process import Process

_BLOCK = 2**16  # bytes of the values of a block, which share a core's cache with the counts
_MAX_LANES = 128


class CountProgram(NamedTuple):
    """The layouts of ``kernel_counts.Place`` for all nodes, in topological order with X last.

    The numbers of a particle are the counts of all cells of the kernels to learn, and then those of all rows. A node
    reads one slab of cells and one of row totals in each step. Fixed kernels are tables of probabilities.
    """

    width: int  # numbers of a particle
    longest: int  # entries of the largest slab
    num_states: np.ndarray  # (nodes,)
    sizes: np.ndarray  # (nodes,) entries of a slab
    columns: np.ndarray  # (nodes,) entries of a slab in the same row
    learned: np.ndarray  # (nodes,) whether the kernel must be learned
    alpha: np.ndarray  # (nodes,)
    stickiness: np.ndarray  # (nodes,)
    cells: np.ndarray  # (nodes, 3) first cell, and the distances for each previous token and each token; of a fixed
    # kernel in ``tables``
    totals: np.ndarray  # (nodes, 3) the same for the rows
    cells_before: np.ndarray  # (nodes, S) int32, the distance to the cells for each previous joint state
    totals_before: np.ndarray  # (nodes, S) int32, the same for the rows
    own: np.ndarray  # (nodes, S) int32, the node's state in each joint state; 0 for X
    entries: np.ndarray  # (nodes, S) int32, the entry of a slab for each new joint state
    rows: np.ndarray  # (nodes, S) int32, the row of a slab for each new joint state
    tables: np.ndarray  # fixed kernels
    start: np.ndarray  # (S,) P(z_0); empty if all latents start in 0
    shows_start: bool  # whether x_0 is drawn from X's kernel given the latents


def count_program(process: Process) -> CountProgram:
    """Flatten the kernels of a process."""
    graph, layouts = process.graph, places(process, torch.device("cpu"))
    joint = torch.arange(graph.num_joint_states)
    sizes = [prod(place.spread) for place in layouts]
    rows = [size // place.columns for size, place in zip(sizes, layouts, strict=True)]
    fixed = [np.empty(0) if place.table is None else place.table.numpy().ravel() for place in layouts]
    learned = np.array([place.table is None for place in layouts])
    cells = np.array([graph.kernel_size(place.node) for place in layouts]) * learned
    totals = cells // [place.node.num_states for place in layouts]
    own = np.array([place.own(joint).numpy() * (not place.node.observed) for place in layouts], np.int32)
    begin = np.where(learned, _starts(cells), _starts(list(map(len, fixed))))
    inside = np.array([place.inside.numpy() for place in layouts], np.int32)
    columns = np.array([place.columns for place in layouts])
    return CountProgram(
        int(cells.sum() + totals.sum()),
        max(sizes),
        np.array([place.node.num_states for place in layouts]),
        np.array(sizes),
        columns,
        learned,
        np.array([place.node.alpha for place in layouts]),
        np.array([place.node.stickiness for place in layouts]),
        _distances(begin, layouts, sizes, "slab"),
        _distances(cells.sum() + _starts(totals), layouts, rows, "row"),
        own * np.array([[place.slab[0] * size] for place, size in zip(layouts, sizes, strict=True)], np.int32),
        own * np.array([[place.row[0] * count] for place, count in zip(layouts, rows, strict=True)], np.int32),
        own,
        inside,
        inside // columns[:, None].astype(np.int32),
        np.pad(np.concatenate(fixed), (0, GROUP)),
        np.empty(0) if graph.initial == "zero" else latent_law(graph).ravel(),
        shows_latents_first(graph),
    )


def count_dtype(length: int) -> np.dtype:
    """The smallest type of counts in sequences of this length."""
    return np.dtype(np.uint8 if length < 2**8 else np.uint16 if length < 2**16 else np.int32)


def bytes_of_program(graph: Graph) -> int:
    """Bytes of the tables that all filters share, while they are made."""
    fixed = sum(graph.kernel_size(node) for node in graph.nodes if not node.redrawn)
    return 2 * 8 * fixed + (5 * 4 + 2 * 8) * len(graph.nodes) * graph.num_joint_states


def width_of(graph: Graph) -> int:
    """Number of counts of a particle: one for each cell and each row of the kernels to learn."""
    sizes = [(graph.kernel_size(node), node.num_states) for node in graph.context_nodes]
    return sum(cells + cells // states for cells, states in sizes)


def bytes_per_filter(graph: Graph, particles: int, length: int) -> int:
    """Bytes of the working memory of a filter over sequences of this length."""
    block = 8 * lanes_of(graph, particles) * _entries(graph)
    return particles * (width_of(graph) * count_dtype(length).itemsize + 8 * 10) + block


def lanes_of(graph: Graph, particles: int) -> int:
    """Number of particles in a block: a multiple of ``GROUP``, whose values stay in a core's cache."""
    lanes = min(max(_BLOCK // (8 * _entries(graph)), GROUP), _MAX_LANES, particles + GROUP - 1)
    return lanes // GROUP * GROUP


def _entries(graph: Graph) -> int:
    """Numbers that a block keeps for each particle."""
    concerned = [[k for k in graph.latents if k.name in (*node.parents, node.name)] for node in graph.nodes]
    longest = max(prod(latent.num_states for latent in latents) for latents in concerned)
    return graph.num_joint_states + 2 * (longest + GROUP) + 8


def _starts(counts) -> np.ndarray:
    return np.cumsum([0, *counts])[:-1]


def _distances(begin: np.ndarray, layouts: list[Place], sizes: list[int], name: str) -> np.ndarray:
    weights = np.array([getattr(place, name)[1:] for place in layouts])
    return np.column_stack([begin, weights * np.array(sizes)[:, None]])
