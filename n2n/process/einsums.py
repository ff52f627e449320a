"""How a distribution over joint latent states moves one step on, as contractions that any einsum can run."""

from __future__ import annotations

import string
from collections.abc import Iterator

from n2n.graph.graph import Graph
from n2n.graph.node import Node

BATCH, _X, _NEW, _STATE = "a", "b", "c", string.ascii_letters[3:]
MAX_EINSUM_LATENTS = len(_STATE)


def letters(graph: Graph) -> str:
    """One letter for each latent node, in topological order: the axes of a joint distribution."""
    return _STATE[: len(graph.latents)]


def of_parents(graph: Graph, node: Node, x: str) -> str:
    """The letters of a node's parents in the order of its kernel's axes, ``x`` standing for the previous token."""
    letter = dict(zip(graph.names, [*letters(graph), x], strict=True))
    return "".join(letter[name] for name in node.parents)


def feedback_step(graph: Graph, node: Node) -> tuple[str, str]:
    """For a latent that sees X: its contraction with a belief ``(joint states, batch)``, and that of a message back.

    Its kernel comes as (batch, own previous state, other parents in order, new state), a row for each sequence's token;
    its parents have moved already. The message back goes from the node's new state to its previous one.
    """
    before = letters(graph) + BATCH
    own = before[graph.latents.index(node)]
    kernel = BATCH + own + of_parents(graph, node, "") + _NEW
    after = before.replace(own, _NEW)
    return f"{before},{kernel}->{after}", f"{after},{kernel}->{before}"


def backward(equation: str, batch: str = "") -> tuple[str, bool]:
    """Of a step of ``law_step`` or ``emitting``: the one that takes a function of the next states back.

    Args:
        equation: of a law with a node's kernel.
        batch: letters of further axes of the function, its last ones.

    Returns:
        the equation of the function with the kernel, and whether its result lacks X's axis, the last of the states:
        that of a previous token which X itself does not see, but others may.
    """
    given, after = equation.split("->")
    before, kernel = given.split(",")
    known = "".join(letter for letter in before if letter in after + kernel)
    return f"{after}{batch},{kernel}->{known}{batch}", known != before


def moving(graph: Graph) -> tuple[Node, ...]:
    """The nodes whose law a step needs: the latents in order, and X last where the previous token is seen."""
    return graph.order if graph.uses_previous_token else graph.latents


def law_step(graph: Graph, nodes: tuple[Node, ...] | None = None) -> Iterator[tuple[Node, str]]:
    """For each node in order, the contraction of a law over the joint states with its kernel, parents having moved.

    X is a last axis of the law, and moves too, where the previous token is seen.

    Args:
        graph: the graph.
        nodes: some of ``moving(graph)``, in order, which no other one sees and which see no other; None for all.
    """
    nodes = moving(graph) if nodes is None else nodes
    letter = dict(zip(graph.names, letters(graph) + _X, strict=True))
    before = "".join(letter[node.name] for node in nodes)
    for node in nodes:
        own = letter[node.name]
        kernel = (own if node.sees_itself else "") + of_parents(graph, node, _X) + _NEW
        yield node, f"{before},{kernel}->{before.replace(own, _NEW)}"


def emitting(graph: Graph) -> str:
    """The product of a law over the joint states with X's kernel, for an X that does not see itself."""
    latents = letters(graph)
    return f"{latents},{of_parents(graph, graph.observed, '')}{_NEW}->{latents}{_NEW}"
