"""Predictions from the counts of a latent path, with the kernels that are redrawn for a sequence integrated out.

Given a path, each unknown row has a Dirichlet distribution, so an entry's predictive probability is
(count + alpha) / (total + n alpha). If stickiness kept a node's state, no value was drawn, and nothing is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


@dataclass(frozen=True, eq=False)
class Moment:
    """The inputs of a particle step, ``(N,)`` each: joint states and tokens at t - 1, and tokens at t."""

    states: Tensor
    before: Tensor
    token: Tensor


@dataclass(frozen=True, eq=False)
class Place:
    """Memory layout of a node's kernel: the entries that a particle reads in one step form one contiguous slab.

    A slab has one entry for each joint state of the node's latent parents and, if the node is a latent, its own new
    state. These latents are in topological order, so the node's own state changes fastest. X's slabs are numbered by
    (previous token if X sees it, token), and a latent's slabs by (own previous state, previous token if it sees it).

    Attributes:
        node: the node.
        stride: distance in joint states between two neighbouring states of the node; 1 for X.
        spread: shape of a slab over the latents up to the node; 1 for each latent that the slab does not depend on.
        inside: ``(S,)``, the index within a slab of the entry for each joint state.
        slab: weights of (own previous state, previous token, token) in the number of a slab.
        row: the same weights for the number of a slab of row totals.
        columns: number of a slab's entries that belong to the same row: a latent's number of states, or 1 for X.
        table: a fixed kernel, ``(slabs, entries)``, or None if the kernel must be learned.
    """

    node: Node
    stride: int
    spread: tuple[int, ...]
    inside: Tensor
    slab: tuple[int, int, int]
    row: tuple[int, int, int]
    columns: int
    table: Tensor | None

    def own(self, states: Tensor) -> Tensor:
        """The states of the node within joint states."""
        return states // self.stride % self.node.num_states

    def number(self, weights: tuple[int, int, int], moment: Moment) -> Tensor:
        """The number of the slab that each particle reads, ``(N,)``."""
        return weights[0] * self.own(moment.states) + weights[1] * moment.before + weights[2] * moment.token


class Counts:
    """Counts of each entry and each row of a kernel that must be learned, for each particle.

    Args:
        place: the layout of the kernel.
        entries: number of entries of the kernel.
        particles: number N of particles.
    """

    def __init__(self, place: Place, entries: int, particles: int) -> None:
        states, device = place.node.num_states, place.inside.device
        self.place = place
        self.cells = torch.zeros(particles, entries, dtype=torch.int32, device=device)
        self.totals = torch.zeros(particles, entries // states, dtype=torch.int32, device=device)

    def predictive(self, moment: Moment) -> Tensor:
        """P(entry | counts) for each entry of the slab that each particle reads, ``(N, entries)``."""
        place, node, size = self.place, self.place.node, prod(self.place.spread)
        cells = _slabs(self.cells, size, place.number(place.slab, moment))
        totals = _slabs(self.totals, size // place.columns, place.number(place.row, moment))[..., None]
        drawn = (cells.view(*totals.shape[:2], -1) + node.alpha) / (totals + node.num_states * node.alpha)
        if node.stickiness:
            drawn = (1 - node.stickiness) * drawn + node.stickiness * self._staying(moment).double()
        return drawn.view(-1, size)

    def _staying(self, moment: Moment) -> Tensor:
        """Whether each entry keeps the node's previous state, ``(N, 1, columns)``."""
        if self.place.node.observed:
            return (moment.token == moment.before)[:, None, None]
        new = torch.arange(self.place.columns, device=moment.states.device)
        return (new == self.place.own(moment.states)[:, None])[:, None]

    def add(self, moment: Moment, states: Tensor, uniform: Tensor | None) -> None:
        """Count the step to the new joint ``states (N,)``.

        If a sticky node keeps its state, ``uniform (N,)`` decides whether that was a draw, which is counted, or a stay;
        other nodes need no random numbers.
        """
        place, node, inside = self.place, self.place.node, self.place.inside[states]
        size = prod(place.spread)
        cell = (place.number(place.slab, moment) * size + inside)[:, None]
        row = (place.number(place.row, moment) * (size // place.columns) + inside // place.columns)[:, None]
        counted = torch.ones_like(cell, dtype=torch.int32)
        if node.stickiness:
            seen, total = self.cells.gather(1, cell)[:, 0].double(), self.totals.gather(1, row)[:, 0].double()
            drawn = (1 - node.stickiness) * (seen + node.alpha) / (total + node.num_states * node.alpha)
            stayed = moment.token == moment.before if node.observed else place.own(states) == place.own(moment.states)
            counted[:, 0] = ~stayed | (uniform * (node.stickiness + drawn) < drawn)
        self.cells.scatter_add_(1, cell, counted)
        self.totals.scatter_add_(1, row, counted)


def _slabs(counts: Tensor, size: int, number: Tensor) -> Tensor:
    """The slab with this number from the counts of each particle, ``(N, size)``, float64."""
    first = torch.arange(len(counts), device=counts.device) * (counts.shape[1] // size)
    return counts.view(-1, size).index_select(0, first + number).double()


def places(process: Process, device: torch.device) -> list[Place]:
    """The layouts of all nodes' kernels, in the graph's order."""
    graph = process.graph
    sizes = graph.latent_sizes
    strides = [prod(sizes[k + 1 :]) for k in range(len(sizes))]
    joint = np.arange(graph.num_joint_states)
    layouts = []
    for k, node in enumerate(graph.order):
        concerned = [i for i, latent in enumerate(graph.latents) if latent.name in (*node.parents, node.name)]
        inside = np.zeros_like(joint)
        for i in concerned:
            inside = inside * sizes[i] + joint // strides[i] % sizes[i]
        spread = tuple(size if i in concerned else 1 for i, size in enumerate(sizes[: k + 1]))
        table = None
        if node.name in process.kernels:
            table = _table(graph, node, process.kernels[node.name], prod(spread)).to(device)
        stride = 1 if node.observed else strides[k]
        columns = 1 if node.observed else node.num_states
        inside = torch.from_numpy(inside).to(device)
        layouts.append(Place(node, stride, spread, inside, *_weights(graph, node), columns, table))
    return layouts


def _weights(graph: Graph, node: Node) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    sees, vocab_size = graph.sees_x(node), graph.vocab_size
    if node.observed:
        return ((0, vocab_size, 1), (0, 1, 0)) if sees else ((0, 0, 1), (0, 0, 0))
    weights = (vocab_size, 1, 0) if sees else (1, 0, 0)
    return weights, weights


def _table(graph: Graph, node: Node, kernel: np.ndarray, entries: int) -> Tensor:
    """A fixed kernel as ``(slabs, entries)``."""
    before, x = "", graph.observed.name  # no node has an empty name
    axes = [*([before] if node.sees_itself else []), *node.parents, node.name]
    latents = [name for name in graph.latent_names if name in axes]
    order = [name for name in (before, x) if name in axes] + latents
    return torch.tensor(kernel.transpose([axes.index(name) for name in order]).reshape(-1, entries))
