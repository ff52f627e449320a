"""The law of a process at its first time step."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import networkx as nx
import numpy as np

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.components import components, graph_of_component, latent_law
from n2n.process.einsums import backward, emitting, law_step, moving
from n2n.process.elimination import Unresolved, long_run_law

BUDGET = 2**30  # bytes
ELIMINATED = 2**12  # largest number of joint states of a set whose law is computed by elimination, within BUDGET
ITERATIONS = 2**12  # largest number of iterations for the law of a larger set
ERROR = 1e-9  # largest accepted sum of absolute errors of a law computed by iteration


def initial_law(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return P(z_0, x_0) as ``(n_1, .., n_K, V)``, float64, or None for "zero", where the first entry has all mass.

    "uniform" draws each latent uniformly, or a frozen one from its own ``initial``, and x_0 from X's kernel given the
    latents. An X that sees its own previous state has no such state at t = 0, so x_0 is uniform. If X's kernel is
    redrawn for every sequence, x_0 is uniform averaged over sequences.

    "stationary" is a law that a step leaves unchanged. If several such laws exist, it is the limit of time averages
    from the law of "uniform": a frozen latent keeps its own ``initial``, and the other nodes have the stationary law
    given its state. Sets of nodes that no edge joins are independent, and each set has its own law; frozen latents join
    no sets, as their state is given. If a set has at most 4,096 joint states, each entry of its law has a relative
    error of about 1e-12 (``n2n.process.elimination``). The law of a larger set is iterated until the sum of its
    absolute errors is proven to be at most 1e-9.

    The law is that of the kernels, even if it depends on very small rates. No sequence is long enough to approach a law
    that depends on rates below about 1e-9.

    Raises:
        ValueError: if the law takes more than 1 GiB, if a stationary law depends on rates below 1e-270, or if the law
            of more than 4,096 joint states converges too slowly; the message then gives the bound reached.
    """
    if graph.initial == "zero":
        return None
    check_law(graph, "initial")
    if graph.initial == "uniform":
        return _uniform(graph, kernels)
    return token_law(graph, kernels, _stationary(graph, kernels))


def _uniform(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray:
    x = graph.observed
    latents = latent_law(graph)
    if shows_latents_first(graph) and x.name in kernels:
        return np.einsum(emitting(graph), latents, kernels[x.name])
    return np.repeat(latents[..., None] / x.num_states, x.num_states, axis=-1)


def shows_latents_first(graph: Graph) -> bool:
    """Return whether x_0 is drawn from X's kernel given z_0, rather than jointly with z_0."""
    return graph.initial == "uniform" and not graph.observed.recurrent


def check_law(graph: Graph, what: str) -> None:
    """Check that a law over all nodes takes at most 1 GiB.

    Raises:
        ValueError: if it takes more; the message begins with ``what``.
    """
    entries = graph.num_joint_states * graph.vocab_size
    if 8 * entries > BUDGET:
        raise ValueError(f"{what}: the law of {entries} joint values takes {8 * entries} bytes, more than {BUDGET}")


def law_after_step(graph: Graph, kernels: Mapping[str, np.ndarray], law: np.ndarray) -> np.ndarray:
    """Move a law one time step forward: a law over the latents, and over X if any node sees the previous token."""
    return _image([(equation, kernels[node.name]) for node, equation in law_step(graph)], law)


def _image(steps: list[tuple[str, np.ndarray]], law: np.ndarray) -> np.ndarray:
    for equation, kernel in steps:
        law = np.einsum(equation, law, kernel)
    return law


def token_law(graph: Graph, kernels: Mapping[str, np.ndarray], law: np.ndarray) -> np.ndarray:
    """Extend a law as in ``law_after_step`` to all nodes, X included."""
    return law if graph.uses_previous_token else np.einsum(emitting(graph), law, kernels[graph.observed.name])


def _stationary(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the stationary law over ``moving(graph)``, one component after the other."""
    every = moving(graph)
    law = np.zeros([node.num_states for node in every])
    for component in components(graph, kernels):
        place = (component.states.get(node.name, slice(None)) for node in every)
        of_component = _stationary_of_component(component.graph, component.kernels)
        law[tuple(place)] = component.probability * of_component.reshape(
            [node.num_states for node in every if node.name not in component.states]
        )
    return law


def _stationary_of_component(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the stationary law of a graph without frozen latents: the product of the laws of ``_sets``."""
    every = moving(graph)
    law = np.ones([node.num_states for node in every])
    for nodes in _sets(graph):
        law_of = _law_by_elimination if _elimination_states(nodes) <= ELIMINATED else _law_by_iteration
        law *= law_of(graph, kernels, nodes).reshape(tuple(node.num_states if node in nodes else 1 for node in every))
    return law


def _sets(graph: Graph) -> list[tuple[Node, ...]]:
    """Split ``moving(graph)`` into sets that no edge joins, each in the graph's order.

    Edges from a latent of one state without parents, such as a frozen latent given its state, do not count.
    """
    every = moving(graph)
    edges = graph.networkx().subgraph([node.name for node in every]).to_undirected()
    constant = [node.name for node in every if node.num_states == 1 and not node.observed and not node.parents]
    edges = nx.restricted_view(edges, [], list(edges.edges(constant)))
    return [tuple(node for node in every if node.name in names) for names in nx.connected_components(edges)]


def _elimination_states(nodes: tuple[Node, ...]) -> int:
    """Return the number of joint states of a set, without an X that does not see itself: the latents determine it."""
    return prod(node.num_states for node in nodes if node.sees_itself)


def law_error(graph: Graph) -> float:
    """Return a bound on the sum of absolute errors of the stationary law, apart from rounding.

    It is 0 if the law of every set is computed by elimination.
    """
    iterated = [nodes for nodes in _sets(graph_of_component(graph)) if _elimination_states(nodes) > ELIMINATED]
    return ERROR * len(iterated)


def _law_by_elimination(graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]) -> np.ndarray:
    states = tuple(node for node in nodes if node.sees_itself)
    try:
        law = long_run_law(*joint_chain(graph, kernels, states))
    except Unresolved as error:
        names = [node.name for node in nodes]
        raise ValueError(
            f"initial: the stationary law of {names} cannot be resolved in float64: {error}; use 'zero' or 'uniform'"
        ) from None
    return law if states == nodes else law[:, None] * _emission(graph, kernels, states)


def joint_chain(
    graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return two ``(n, n)`` arrays for the steps between joint states of ``nodes``.

    The first has the probability of each step, and the second says whether the step is possible. The probabilities are
    products of kernel entries, so the probability of a possible step may underflow to 0.

    Args:
        graph: the graph.
        kernels: kernels of all nodes, by name.
        nodes: nodes that see themselves, in order, with all nodes that they depend on. An X that does not see itself is
            left out; the steps are summed over its tokens.
    """
    x = graph.observed
    if x in nodes or not any(map(graph.sees_x, nodes)):
        return _steps(graph, kernels, nodes)
    emission, chain, support = _emission(graph, kernels, nodes), 0.0, False
    for token in range(x.num_states):
        kernels_after = {node.name: _after_token(kernels[node.name], node, x.name, token) for node in nodes}
        part, possible = _steps(graph, kernels_after, nodes)
        part *= emission[:, token, None]
        possible &= emission[:, token, None] > 0
        chain, support = np.add(chain, part, out=part), np.logical_or(support, possible, out=possible)
    return chain, support


def _after_token(kernel: np.ndarray, node: Node, x: str, token: int) -> np.ndarray:
    """Return a latent's kernel after ``token``, with one entry on the axis of the previous token."""
    return kernel.take([token], axis=1 + node.parents.index(x)) if x in node.parents else kernel


def _steps(graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]) -> tuple[np.ndarray, np.ndarray]:
    sizes, axis = _axes(nodes)
    chain, support = np.ones((*sizes, *sizes)), np.ones((*sizes, *sizes), bool)
    for node in nodes:
        after = {name: len(sizes) + place for name, place in axis.items() if name != graph.observed.name}
        places = [axis.get(node.name)]
        places += [{**axis, **after}.get(name) for name in node.parents]  # latents have already moved, X has not
        places += [len(sizes) + axis[node.name] if node.name in axis else None]
        kernel = _spread(kernels[node.name], places, 2 * len(sizes))
        chain *= kernel
        support &= kernel > 0
    return chain.reshape((prod(sizes),) * 2), support.reshape((prod(sizes),) * 2)


def _emission(graph: Graph, kernels: Mapping[str, np.ndarray], latents: tuple[Node, ...]) -> np.ndarray:
    """Return P(x | z) over the joint states of the latents, ``(n, V)``; X's parents are among them."""
    sizes, axis = _axes(latents)
    x = graph.observed
    places = [*(axis.get(name) for name in x.parents), len(sizes) if x.num_states > 1 else None]
    emission = _spread(kernels[x.name], places, len(sizes) + 1)
    return np.broadcast_to(emission, (*sizes, x.num_states)).reshape(-1, x.num_states)


def _axes(nodes: tuple[Node, ...]) -> tuple[list[int], dict[str, int]]:
    """Return the sizes of the axes of a law over some nodes, and the axis of each node by name.

    Nodes of one state have no axis, because numpy limits the number of axes.
    """
    several = [node for node in nodes if node.num_states > 1]
    return [node.num_states for node in several], {node.name: k for k, node in enumerate(several)}


def _spread(table: np.ndarray, places: list[int | None], count: int) -> np.ndarray:
    """Reshape a table to ``count`` axes: its axes move to ``places``, and all other axes have size 1.

    Axes of size 1 have the place None and are dropped.
    """
    table = table.reshape(tuple(size for size, place in zip(table.shape, places, strict=True) if place is not None))
    kept = [place for place in places if place is not None]
    sizes = dict(zip(kept, table.shape, strict=True))
    return table.transpose(np.argsort(kept)).reshape(tuple(sizes.get(place, 1) for place in range(count)))


def _law_by_iteration(graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]) -> np.ndarray:
    law, bound = iterate([(equation, kernels[node.name]) for node, equation in law_step(graph, nodes)], nodes)
    if bound > ERROR:
        raise ValueError(
            f"initial: the error of the stationary law of {law.size} joint states is at most {bound:.2g} after "
            f"{ITERATIONS} iterations; the bound must be at most {ERROR:g}. The process forgets too slowly: use 'zero' "
            "or 'uniform', or fewer states"
        )
    return law


def iterate(steps: list[tuple[str, np.ndarray]], nodes: tuple[Node, ...]) -> tuple[np.ndarray, float]:
    """Compute the stationary law of a set of nodes by iteration, and a bound on the sum of its absolute errors.

    Each iteration averages the law with its image after a step. This averaged chain has the same stationary law and no
    cycles.

    Args:
        steps: each node's equation from ``law_step``, and its kernel.
        nodes: the nodes.
    """
    law = np.ones([node.num_states for node in nodes])
    law /= law.size
    rounding = np.finfo(float).eps * (len(nodes) + sum(node.num_states for node in nodes))
    for _ in range(ITERATIONS):
        image = _image(steps, law)
        change = np.abs(image - law).sum()
        law = 0.5 * (law + image)
        if change <= rounding:
            break
    law /= law.sum()
    return law, _error(steps, law, 0.5 * change + rounding)


def _error(steps: list[tuple[str, np.ndarray]], law: np.ndarray, change: float) -> float:
    """Bound the sum of absolute errors of a law that an iteration changes by at most ``change`` in total.

    Suppose that every state reaches a common state within k iterations with probability at least h. Then k iterations
    reduce the distance between any two laws by a factor of 1 - h (Doeblin). They change this law by at most k * change,
    so its distance from the stationary law is at most k * change / h. The common state is the most likely one, and the
    bound is the smallest over k.
    """
    reach = np.zeros(law.shape)
    reach.flat[law.argmax()] = 1.0
    bound = 2.0  # the distance of any two laws is at most 2
    for k in range(1, ITERATIONS + 1):
        reach = 0.5 * (reach + _expected(steps, reach))
        min_reach = reach.min()
        if min_reach > 0:
            bound = min(bound, k * change / min_reach)
        if bound <= ERROR or k * change > bound:
            break
    return bound


def _expected(steps: list[tuple[str, np.ndarray]], values: np.ndarray) -> np.ndarray:
    """Return the expectation of a function of the next joint state, conditional on the present one."""
    shape = values.shape
    for equation, kernel in reversed(steps):
        back, lacks_x = backward(equation)
        values = np.einsum(back, values, kernel)
        values = np.broadcast_to(values[..., None], shape) if lacks_x else values
    return values
