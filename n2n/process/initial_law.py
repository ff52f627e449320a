"""The law of a process at its first time step."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import networkx as nx
import numpy as np

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.einsums import backward, emitting, law_step, moving
from n2n.process.elimination import Unresolved, long_run_law

BUDGET = 2**30  # bytes
ELIMINATED = 2**12  # joint states of a set up to which its law is computed by elimination, within BUDGET
ITERATIONS = 2**12  # of the law of a larger set, at most
ERROR = 1e-9  # largest sum of absolute errors of a law that was iterated


def initial_law(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """P(z_0, x_0) as ``(n_1, .., n_K, V)``, float64, or None for "zero", where all mass is on the first entry.

    "uniform" draws each latent uniformly, and x_0 from X's kernel given them. An X that sees its own previous state has
    none at t = 0, and is uniform too. So is an X whose kernel is redrawn for every sequence, averaged over sequences.

    "stationary" is a law that a step leaves as it is. Where there are several, it is the one that time averages tend to
    from a uniform start, for each set of nodes that depend on one another by itself: sets that no edge joins are
    independent. Up to 4,096 joint states in a set, every entry of its law is accurate to about 1e-12 of itself
    (``n2n.process.elimination``). Above, the law is iterated until its error is proven to be at most 1e-9 in total.

    The law is that of the kernels, however small the rates on which it depends. Below rates of about 1e-9 no sequence
    is long enough to come near it.

    Raises:
        ValueError: a law too large for 1 GiB; a stationary one that depends on rates under 1e-270; or one over more
            than 4,096 joint states that the process approaches too slowly (the message gives the bound reached).
    """
    if graph.initial == "zero":
        return None
    check_law(graph, "initial")
    if graph.initial == "uniform":
        return _uniform(graph, kernels)
    return token_law(graph, kernels, _stationary(graph, kernels))


def _uniform(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray:
    x = graph.observed
    latents = np.full(graph.latent_sizes, 1.0 / graph.num_joint_states)
    if shows_latents_first(graph) and x.name in kernels:
        return np.einsum(emitting(graph), latents, kernels[x.name])
    return np.repeat(latents[..., None] / x.num_states, x.num_states, axis=-1)


def shows_latents_first(graph: Graph) -> bool:
    """Whether x_0 is drawn from X's kernel given z_0, and not together with z_0."""
    return graph.initial == "uniform" and not graph.observed.recurrent


def check_law(graph: Graph, what: str) -> None:
    """Raise a ``ValueError`` about ``what`` if a law over all nodes is too large for 1 GiB."""
    entries = graph.num_joint_states * graph.vocab_size
    if 8 * entries > BUDGET:
        raise ValueError(f"{what}: the law of {entries} joint values takes {8 * entries} bytes, more than {BUDGET}")


def law_after_step(graph: Graph, kernels: Mapping[str, np.ndarray], law: np.ndarray) -> np.ndarray:
    """A law over the latents, and over X where the previous token is seen, one time step on."""
    return _image([(equation, kernels[node.name]) for node, equation in law_step(graph)], law)


def _image(steps: list[tuple[str, np.ndarray]], law: np.ndarray) -> np.ndarray:
    for equation, kernel in steps:
        law = np.einsum(equation, law, kernel)
    return law


def token_law(graph: Graph, kernels: Mapping[str, np.ndarray], law: np.ndarray) -> np.ndarray:
    """The law over all nodes that follows from such a one."""
    return law if graph.uses_previous_token else np.einsum(emitting(graph), law, kernels[graph.observed.name])


def _stationary(graph: Graph, kernels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The stationary law over the latents, and over X where the previous token is seen: a product over ``_sets``."""
    every = moving(graph)
    law = np.ones([node.num_states for node in every])
    for nodes in _sets(graph):
        law_of = _eliminated if _states_eliminated(nodes) <= ELIMINATED else _iterated
        law *= law_of(graph, kernels, nodes).reshape(tuple(node.num_states if node in nodes else 1 for node in every))
    return law


def _sets(graph: Graph) -> list[tuple[Node, ...]]:
    """The moving nodes in sets that no edge joins, each in the graph's order."""
    every = moving(graph)
    edges = graph.networkx().subgraph([node.name for node in every]).to_undirected()
    return [tuple(node for node in every if node.name in names) for names in nx.connected_components(edges)]


def _states_eliminated(nodes: tuple[Node, ...]) -> int:
    """Joint states of a set, in which an X that does not see itself has no part: it follows from the latents."""
    return prod(node.num_states for node in nodes if node.sees_itself)


def law_error(graph: Graph) -> float:
    """A bound of the sum of absolute errors of the stationary law, beside rounding: 0 where all of it is eliminated."""
    iterated = [nodes for nodes in _sets(graph) if _states_eliminated(nodes) > ELIMINATED]
    return ERROR * len(iterated)


def _eliminated(graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]) -> np.ndarray:
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
    """The steps of ``nodes`` from one joint state to the next, ``(n, n)``: probabilities, and which are possible.

    Each probability is made of products of kernels' entries, and may underflow to 0 where the step is possible.

    Args:
        graph: the graph.
        kernels: of all nodes, by name.
        nodes: nodes that see themselves, in order, and with them all that they depend on; but for an X that does not
            see itself, over whose tokens the steps are summed.
    """
    x = graph.observed
    if x in nodes or not any(map(graph.sees_x, nodes)):
        return _steps(graph, kernels, nodes)
    shown, chain, support = _emission(graph, kernels, nodes), 0.0, False
    for token in range(x.num_states):
        given = {node.name: _given_token(kernels[node.name], node, x.name, token) for node in nodes}
        part, possible = _steps(graph, given, nodes)
        part *= shown[:, token, None]
        possible &= shown[:, token, None] > 0
        chain, support = np.add(chain, part, out=part), np.logical_or(support, possible, out=possible)
    return chain, support


def _given_token(kernel: np.ndarray, node: Node, x: str, token: int) -> np.ndarray:
    """A latent's kernel given the previous token, whose axis is left with one entry."""
    return kernel.take([token], axis=1 + node.parents.index(x)) if x in node.parents else kernel


def _steps(graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]) -> tuple[np.ndarray, np.ndarray]:
    sizes, axis = _axes(nodes)
    chain, support = np.ones((*sizes, *sizes)), np.ones((*sizes, *sizes), bool)
    for node in nodes:
        after = {name: len(sizes) + place for name, place in axis.items() if name != graph.observed.name}
        places = [axis.get(node.name)]
        places += [{**axis, **after}.get(name) for name in node.parents]  # latents have moved already, X has not
        places += [len(sizes) + axis[node.name] if node.name in axis else None]
        kernel = _spread(kernels[node.name], places, 2 * len(sizes))
        chain *= kernel
        support &= kernel > 0
    return chain.reshape((prod(sizes),) * 2), support.reshape((prod(sizes),) * 2)


def _emission(graph: Graph, kernels: Mapping[str, np.ndarray], latents: tuple[Node, ...]) -> np.ndarray:
    """P(x | z) over the joint states of the latents that X's parents are among, ``(n, V)``."""
    sizes, axis = _axes(latents)
    x = graph.observed
    places = [*(axis.get(name) for name in x.parents), len(sizes) if x.num_states > 1 else None]
    shown = _spread(kernels[x.name], places, len(sizes) + 1)
    return np.broadcast_to(shown, (*sizes, x.num_states)).reshape(-1, x.num_states)


def _axes(nodes: tuple[Node, ...]) -> tuple[list[int], dict[str, int]]:
    """Sizes of the axes of a law over some nodes, and each node's axis; none for one state: numpy has few axes."""
    several = [node for node in nodes if node.num_states > 1]
    return [node.num_states for node in several], {node.name: k for k, node in enumerate(several)}


def _spread(table: np.ndarray, places: list[int | None], count: int) -> np.ndarray:
    """A table with each axis in its place among ``count``; axes of size 1 have none, and stand in all other places."""
    table = table.reshape(tuple(size for size, place in zip(table.shape, places, strict=True) if place is not None))
    kept = [place for place in places if place is not None]
    sizes = dict(zip(kept, table.shape, strict=True))
    return table.transpose(np.argsort(kept)).reshape(tuple(sizes.get(place, 1) for place in range(count)))


def _iterated(graph: Graph, kernels: Mapping[str, np.ndarray], nodes: tuple[Node, ...]) -> np.ndarray:
    law, bound = iterate([(equation, kernels[node.name]) for node, equation in law_step(graph, nodes)], nodes)
    if bound > ERROR:
        raise ValueError(
            f"initial: the error of the stationary law of {law.size} joint states is at most {bound:.2g} after "
            f"{ITERATIONS} iterations, and more than {ERROR:g} is not accepted; the process forgets too slowly, so use "
            "'zero' or 'uniform', or fewer states"
        )
    return law


def iterate(steps: list[tuple[str, np.ndarray]], nodes: tuple[Node, ...]) -> tuple[np.ndarray, float]:
    """The stationary law of a set of nodes by iteration, and a bound of the sum of its absolute errors.

    Each iteration averages a law with its image, which has the same stationary law and no cycles.

    Args:
        steps: the nodes' contractions, as ``law_step`` gives them, and kernels.
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
    """A bound of the sum of absolute errors of a law that an iteration changes by at most ``change`` in total.

    Let every state reach one and the same state within k iterations with probability h or more. Then k iterations
    bring any two laws closer by a factor of 1 - h (Doeblin), and as they change this one by k * change at most, its
    distance from the stationary law is at most k * change / h. The best k is taken. The state is the law's likeliest.
    """
    reach = np.zeros(law.shape)
    reach.flat[law.argmax()] = 1.0
    bound = 2.0  # of any two laws
    for k in range(1, ITERATIONS + 1):
        reach = 0.5 * (reach + _expected(steps, reach))
        least = reach.min()
        if least > 0:
            bound = min(bound, k * change / least)
        if bound <= ERROR or k * change > bound:
            break
    return bound


def _expected(steps: list[tuple[str, np.ndarray]], values: np.ndarray) -> np.ndarray:
    """The expectation of a function of the next joint state, given the present one."""
    shape = values.shape
    for equation, kernel in reversed(steps):
        back, lost = backward(equation)
        values = np.einsum(back, values, kernel)
        values = np.broadcast_to(values[..., None], shape) if lost else values
    return values
