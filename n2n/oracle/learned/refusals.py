"""Graphs that the in-context oracle refuses, told from the graph alone."""

from __future__ import annotations

from n2n.graph.graph import Graph
from n2n.oracle.checks import MEMORY_BUDGET, check_latents

MAX_POOL = 2**16
EVALUATION_PARTICLES = 256  # of held-out evaluations: many sequences share the error, so few particles are enough


def check_in_context(graph: Graph, particles: int, length: int) -> None:
    """Check that the in-context oracle can be computed for every sequence of a graph.

    Args:
        graph: a graph with context nodes.
        particles: number of particles of a filter, where one is needed.
        length: number of tokens in a sequence.

    Raises:
        ValueError: a pool of too many kernel sets, or, without a pool, too many latents, a product kernel over several
            variables, or a particle filter that exceeds the memory budget.
    """
    check_pool(graph)
    if graph.pool is not None:
        return
    check_latents(graph)
    if message := product_message(graph):
        raise ValueError(
            f"{message}. Use kernel='full' or a pool; n2n.in_context_nll itself works on short sequences of few "
            "parameters"
        )
    from n2n.oracle.compiled import particle_program
    from n2n.oracle.learned.filters import check_budget

    if graph.num_joint_states > 1:
        needed = particle_program.bytes_of_program(graph) + particle_program.bytes_per_filter(graph, particles, length)
        check_budget(graph, particles, needed, MEMORY_BUDGET)


def check_pool(graph: Graph) -> None:
    """Raise a ``ValueError`` if the graph's pool has more kernel sets than there can be filters."""
    if graph.pool is not None and graph.pool > MAX_POOL:
        raise ValueError(
            f"process: saw a pool of {graph.pool} kernel sets; in context, up to {MAX_POOL} are supported, with a "
            "filter for each. The oracle of the same graph with pool=None knows the prior only"
        )


def product_message(graph: Graph) -> str:
    """What is wrong with the first node whose kernel has no conjugate prior; empty if there is none."""
    for node in graph.context_nodes:
        variables = len(graph.sizes_seen(node))
        if node.kernel == "product" and variables > 1:
            return (
                f"{node.name}: saw kernel 'product' over {variables} variables in mode 'context'; its rows have no "
                "conjugate prior"
            )
    return ""
