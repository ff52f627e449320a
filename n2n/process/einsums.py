"""Einsum equations that move a distribution over joint latent states one time step forward."""

from __future__ import annotations

import string
from collections.abc import Iterator

from n2n.graph.graph import Graph
from n2n.graph.node import Node

BATCH, _X, _NEW, _STATE = "a", "b", "c", string.ascii_letters[3:]
MAX_EINSUM_LATENTS = len(_STATE)


def letters(graph: Graph) -> str:
    """Return one letter for each latent, in topological order: the axes of a joint distribution."""
    return _STATE[: len(graph.latents)]


def parent_letters(graph: Graph, node: Node, x: str) -> str:
    """Return the letters of a node's parents in the order of its kernel's axes; ``x`` denotes the previous token."""
    letter = dict(zip(graph.names, [*letters(graph), x], strict=True))
    return "".join(letter[name] for name in node.parents)


def feedback_step(graph: Graph, node: Node) -> tuple[str, str]:
    """Return two equations for a latent that sees X.

    The first contracts a belief ``(joint states, batch)`` with the node's kernel; the node's parents have already
    moved. The second passes a message back from the node's new state to its previous one. The kernel has the axes
    (batch, own previous state, other parents in order, new state): each sequence selects the rows of its token.
    """
    before = letters(graph) + BATCH
    own = before[graph.latents.index(node)]
    kernel = BATCH + own + parent_letters(graph, node, "") + _NEW
    after = before.replace(own, _NEW)
    return f"{before},{kernel}->{after}", f"{after},{kernel}->{before}"


def backward(equation: str, batch: str = "") -> tuple[str, bool]:
    """Invert an equation of ``law_step`` or ``emitting``: return one that takes a function of the next states back.

    Args:
        equation: contraction of a law with a node's kernel.
        batch: letters of additional axes of the function, after those of the states.

    Returns:
        The contraction of the function with the kernel, and whether its result lacks X's axis, the last of the states.
        The axis is missing in X's own step if X does not see the previous token; other nodes may still see it.
    """
    operands, after = equation.split("->")
    before, kernel = operands.split(",")
    kept = "".join(letter for letter in before if letter in after + kernel)
    return f"{after}{batch},{kernel}->{kept}{batch}", kept != before


def moving(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes whose law a step needs: the latents in order, then X if any node sees the previous token."""
    return graph.order if graph.uses_previous_token else graph.latents


def law_step(graph: Graph, nodes: tuple[Node, ...] | None = None) -> Iterator[tuple[Node, str]]:
    """Yield, in order, each node and the contraction of a law over the joint states with its kernel.

    The parents of the node have already moved. If any node sees the previous token, X is the last axis of the law and
    moves too.

    Args:
        graph: the graph.
        nodes: some of ``moving(graph)``, in order, that no edge joins to the others; None for all.
    """
    nodes = moving(graph) if nodes is None else nodes
    letter = dict(zip(graph.names, letters(graph) + _X, strict=True))
    before = "".join(letter[node.name] for node in nodes)
    for node in nodes:
        own = letter[node.name]
        kernel = (own if node.sees_itself else "") + parent_letters(graph, node, _X) + _NEW
        yield node, f"{before},{kernel}->{before.replace(own, _NEW)}"


def emitting(graph: Graph) -> str:
    """Return the product of a law over the joint states with X's kernel, for an X that does not see itself."""
    latents = letters(graph)
    return f"{latents},{parent_letters(graph, graph.observed, '')}{_NEW}->{latents}{_NEW}"
