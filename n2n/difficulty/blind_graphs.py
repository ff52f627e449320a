"""The graph of a structure-blind learner: one hidden chain of as many joint states, without factorisation."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, xlogy

from n2n.graph.graph import Graph
from n2n.graph.node import MIN_ALPHA, Node
from n2n.oracle.checks import check_fixed
from n2n.oracle.transition import whole_table
from n2n.process.kernels import draw_kernel
from n2n.process.process import Process

DRAWN = 64  # kernels over which the entropy of rows without a closed form is averaged
MAX_ALPHA = 1e6


def blind_graph(graph: Graph) -> Graph:
    """Return the graph with one latent, Z, of all S joint states instead of the latents of ``graph``.

    Fits to it know nothing of the factorisation, but can represent every process of ``graph``. X sees Z, and itself if
    it did; Z sees X if a latent did. All kernels are full. Each alpha is the one with the same mean row entropy as
    before: a row of Z has the entropy of a row of all latents together, the sum of theirs, and a row of X that of a row
    of X. A graph of one full chain keeps its alphas.

    Args:
        graph: with fixed kernels and at least one latent.

    Raises:
        ValueError: if kernels are redrawn for every sequence, or there is no latent.
    """
    check_fixed(graph)
    if not graph.latents:
        raise ValueError("graph: saw no latents; a blind graph merges latents into one")
    x, states = graph.observed, graph.num_joint_states
    row = sum(_mean_row_entropy(graph, node) for node in graph.latents)
    alpha = _alpha_of_entropy(row, states)
    alpha_x = _alpha_of_entropy(_mean_row_entropy(graph, x), x.num_states)
    latent = Node(name="Z", num_states=states, parents=("X",) if graph.feeds_back else (), alpha=alpha)
    parents = ("Z",) if x.parents else ()
    observed = Node(
        name="X", num_states=x.num_states, parents=parents, observed=True, recurrent=x.recurrent, alpha=alpha_x
    )
    return Graph(nodes=(latent, observed), name=f"{graph.name}_blind".lstrip("_"), initial=graph.initial)


def blind_process(process: Process) -> Process:
    """The same process on its blind graph: its kernels are those of all latents together.

    Args:
        process: with fixed kernels and latents that do not see X.

    Raises:
        ValueError: as ``blind_graph``, or if a latent sees X.
    """
    graph = blind_graph(process.graph)
    table, kernel = whole_table(process).numpy(), process.kernel(process.graph.observed.name)
    if not process.graph.observed.parents:
        return Process.from_kernels(graph, {"Z": table, "X": kernel}, process.seed)
    names, parents = process.graph.latent_names, process.graph.observed.parents
    own = kernel.ndim - len(parents) - 1  # 1 if X sees its previous token
    order = sorted(range(len(parents)), key=lambda i: names.index(parents[i]))
    kernel = kernel.transpose(*range(own), *(own + i for i in order), kernel.ndim - 1)
    absent = [own + i for i, name in enumerate(names) if name not in parents]
    kernel = np.expand_dims(kernel, absent)
    shape = (*kernel.shape[:own], *process.graph.latent_sizes, kernel.shape[-1])
    joint = np.broadcast_to(kernel, shape).reshape(*shape[:own], -1, shape[-1])
    return Process.from_kernels(graph, {"Z": table, "X": joint}, process.seed)


def _mean_row_entropy(graph: Graph, node: Node) -> float:
    """Mean entropy of a row of a node's kernel under its prior, nats; modes do not change it."""
    if node.stickiness == 0 and (node.kernel == "full" or len(graph.sizes_seen(node)) == 1):
        return _dirichlet_entropy(node.alpha, node.num_states)
    kernels = np.array([draw_kernel(graph, node, seed) for seed in range(DRAWN)])
    return float(-xlogy(kernels, kernels).sum(axis=-1).mean())


def _dirichlet_entropy(alpha: float, states: int) -> float:
    """Mean entropy of a symmetric Dirichlet distribution over ``states`` values, nats."""
    return float(digamma(states * alpha + 1) - digamma(alpha + 1))


def _alpha_of_entropy(entropy: float, states: int) -> float:
    """The concentration with this mean entropy, within the concentrations that nodes accept."""
    if entropy <= _dirichlet_entropy(MIN_ALPHA, states) or states == 1:
        return MIN_ALPHA
    if entropy >= _dirichlet_entropy(MAX_ALPHA, states):
        return MAX_ALPHA

    def surplus(log_alpha: float) -> float:
        return _dirichlet_entropy(np.exp(log_alpha), states) - entropy

    return float(np.exp(brentq(surplus, np.log(MIN_ALPHA), np.log(MAX_ALPHA), xtol=1e-12)))
