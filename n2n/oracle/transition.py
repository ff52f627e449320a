"""One step of a belief over the joint latent states, one block of latents at a time, in torch.

A belief is ``(S, batch)``. In the joint states the latents are in topological order, and the last one changes fastest.
The batch is the last axis, so one batched matrix product moves a block of neighbouring latents without any permutation
of axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.einsums import feedback_step
from n2n.process.process import Process

# Cost of a move per joint state and sequence, in nanoseconds on one core: a pass over memory, and an arithmetic part
# that grows with the block's states. Both were measured on products of blocks of 2 to 64 states. Only their ratio
# matters.
_PASS, _PER_STATE = 0.3, 0.04


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring latents that move together, by the product of their kernels.

    Attributes:
        before: number of joint states of the latents before the block, which have already moved.
        states: number of joint states of the block.
        table: ``(before, new states, previous states)``, the transition probabilities of the block.
    """

    before: int
    states: int
    table: Tensor

    def move(self, belief: Tensor, previous: Tensor) -> Tensor:
        """Move the block in a belief ``(S, batch)`` by one step; the ``previous`` tokens have no effect."""
        return self._apply(self.table, belief)

    def move_back(self, message: Tensor, previous: Tensor) -> Tensor:
        """Average a message ``(S, batch)``, a function of the block's new states, given its previous states."""
        return self._apply(self.table.mT, message)

    def _apply(self, table: Tensor, values: Tensor) -> Tensor:
        return torch.bmm(table, values.view(self.before, self.states, -1)).view(values.shape)


@dataclass(frozen=True, eq=False)
class Feedback:
    """A latent that sees the previous token, so each sequence moves by different rows of the kernel.

    Attributes:
        table: ``(V, own previous state, other parents in order, new state)``, the kernel.
        sizes: number of states of each latent.
        there: einsum equation that moves a belief; see ``einsums.feedback_step``.
        back: einsum equation that moves a message back.
    """

    table: Tensor
    sizes: tuple[int, ...]
    there: str
    back: str

    def move(self, belief: Tensor, previous: Tensor) -> Tensor:
        """Move the node in a belief ``(S, batch)`` by one step, given ``x_{t-1} (batch,)``."""
        return self._apply(self.there, belief, previous)

    def move_back(self, message: Tensor, previous: Tensor) -> Tensor:
        """Average a message ``(S, batch)`` over the node's new state, given ``x_{t-1} (batch,)``."""
        return self._apply(self.back, message, previous)

    def _apply(self, equation: str, values: Tensor, previous: Tensor) -> Tensor:
        joint = values.view(*self.sizes, -1)
        return torch.einsum(equation, joint, self.table[previous]).reshape(values.shape).contiguous()


def transition_steps(process: Process, device: torch.device, dtype: torch.dtype) -> list[Block | Feedback]:
    """The moves that make up one time step, in topological order; neighbouring latents are merged if that is faster."""
    kernels = {name: torch.tensor(table, device=device, dtype=dtype) for name, table in process.kernels.items()}
    return [_step(process.graph, kernels, group) for group in plan(process.graph)]


def plan(graph: Graph) -> list[tuple[int, ...]]:
    """Split the latents, in order, into the groups of neighbours that are cheapest to move.

    A latent that sees X forms a group of its own. Frozen latents may be left out, as they do not move.
    """
    sizes = graph.latent_sizes
    alone = [graph.sees_x(node) for node in graph.latents]
    best: list[tuple[float, list[tuple[int, ...]]]] = [(0.0, [])]
    for stop in range(1, len(sizes) + 1):
        options = [best[stop - 1]] if graph.latents[stop - 1].frozen else []
        for start in range(stop):
            if start == stop - 1 or not any(alone[start:stop]):
                cost = _PASS + _PER_STATE * prod(sizes[start:stop])
                options.append((best[start][0] + cost, [*best[start][1], tuple(range(start, stop))]))
        best.append(min(options, key=lambda option: option[0]))
    return best[-1][1]


@lru_cache  # every call of the oracle checks its memory
def table_entries(graph: Graph) -> int:
    """Total number of entries in the tables of all moves."""
    total = 0
    for group in plan(graph):
        nodes = [graph.latents[k] for k in group]
        if graph.sees_x(nodes[0]):
            total += graph.kernel_size(nodes[0])
        else:
            before = graph.latents[: group[0]] if _outside(nodes) else ()
            total += prod(node.num_states for node in before) * prod(node.num_states for node in nodes) ** 2
    return total


def whole_table(process: Process) -> Tensor:
    """The textbook S x S transition matrix ``(previous states, new states)``, float64; for comparison on small graphs.

    Raises:
        ValueError: if a latent of the graph sees the previous token, or if the graph has no latents.
    """
    graph = process.graph
    if not graph.latents or graph.feeds_back:
        raise ValueError("saw feedback or no latents; one matrix moves only latents that see no token")
    kernels = {name: torch.tensor(table) for name, table in process.kernels.items()}
    return _block(graph, kernels, tuple(range(len(graph.latents)))).table[0].T


def _outside(nodes: list[Node]) -> set[str]:
    return {name for node in nodes for name in node.parents} - {node.name for node in nodes}


def _step(graph: Graph, kernels: dict[str, Tensor], group: tuple[int, ...]) -> Block | Feedback:
    nodes = [graph.latents[k] for k in group]
    if not graph.sees_x(nodes[0]):
        return _block(graph, kernels, group)
    (node,) = nodes
    kernel = kernels[node.name].movedim(1 + node.parents.index(graph.observed.name), 0)
    return Feedback(kernel.contiguous(), graph.latent_sizes, *feedback_step(graph, node))


def spread(kernel: Tensor, axes: list[int], count: int) -> Tensor:
    """A kernel with its axes at the positions ``axes`` among ``count`` axes; the others have size 1."""
    shape = [1] * count
    for axis, size in zip(axes, kernel.shape, strict=True):
        shape[axis] = size
    return kernel.permute(sorted(range(len(axes)), key=axes.__getitem__)).reshape(shape)


def _block(graph: Graph, kernels: dict[str, Tensor], group: tuple[int, ...]) -> Block:
    """Multiply the group's kernels into a table ``(earlier latents, new states, previous states)`` of the group."""
    nodes, names = [graph.latents[k] for k in group], graph.latent_names
    outer, inner = graph.latent_sizes[: group[0]], [node.num_states for node in nodes]
    table = torch.ones((), dtype=kernels[names[0]].dtype, device=kernels[names[0]].device)
    for i, node in enumerate(nodes):
        # axes of the table: the new states of all latents up to the group's last, then the group's previous states
        own = group[-1] + 1 + i
        axes = [own, *(names.index(name) for name in node.parents), group[i]]
        table = table * spread(kernels[node.name], axes, len(outer) + 2 * len(inner))
    states = prod(inner)
    if _outside(nodes):
        table = table.expand(*outer, *inner, *inner).reshape(-1, states, states)
    else:
        table = table.reshape(1, states, states).expand(prod(outer), -1, -1)
    return Block(prod(outer), states, table)
