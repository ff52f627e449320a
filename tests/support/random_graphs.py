"""Random graphs, graphs with closed forms, and processes with given kernels."""

import numpy as np

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.reference import first_law
from n2n.process.process import Process


def random_graph(seed: int) -> Graph:
    """Up to 3 latents of up to 3 states: random edges, feedback, recurrence, modes, kernels and stickiness."""
    rng = np.random.default_rng(seed)
    names = [f"Z{i}" for i in range(rng.integers(1, 4))]

    def node(name: str, earlier: list[str], modes: list[str], **fields) -> Node:
        parents = [other for other in rng.permutation(earlier) if rng.random() < 0.7]
        return Node(
            name=name,
            num_states=int(rng.integers(2, 4)),
            parents=parents,
            mode=str(rng.choice(modes)),
            kernel=str(rng.choice(["full", "product"])),
            alpha=float(rng.choice([0.1, 1.0])),
            stickiness=float(rng.choice([0.0, 0.6])) if fields.get("recurrent", True) else 0.0,
            **fields,
        )

    every_mode = ["default", "slow", "dead"]
    nodes = [node(name, [*names[:i], *["X"][: rng.integers(2)]], every_mode) for i, name in enumerate(names)]
    if rng.random() < 0.5:
        nodes.append(node("X", names, every_mode, observed=True, recurrent=True))
    else:
        x = node("X", names, ["default", "dead"], observed=True, recurrent=False)
        nodes.append(x if x.parents else x.model_copy(update={"parents": names[:1]}))
    return Graph(nodes=tuple(nodes[i] for i in rng.permutation(len(nodes))))


def mixing_graph(seed: int, initial: str) -> Graph:
    """A random graph whose kernels have no tiny entries, so that it forgets its start quickly."""
    graph = random_graph(seed)
    nodes = [node.model_copy(update={"alpha": 2.0}) for node in graph.nodes]
    return Graph(nodes=nodes, initial=initial)


def iid_graph(vocab_size: int) -> Graph:
    """The latent has one state, so tokens are independent draws from one Dirichlet row."""
    x = Node(name="X", num_states=vocab_size, parents=("Z",), observed=True)
    return Graph(nodes=(Node(name="Z", num_states=1), x), name="iid")


def chain_seen_through(transitions: np.ndarray, emissions: np.ndarray, initial: str = "zero") -> Process:
    """A hidden Markov model with one latent node."""
    states, vocab_size = np.shape(emissions)
    nodes = (
        Node(name="Z", num_states=states),
        Node(name="X", num_states=vocab_size, parents=("Z",), observed=True),
    )
    return Process.from_kernels(Graph(nodes=nodes, initial=initial), {"Z": transitions, "X": emissions})


def path_log_probability(process: Process, tokens: np.ndarray, latents: dict[str, np.ndarray]) -> np.ndarray:
    """log P(z_0, x_0, .., z_{T-1}, x_{T-1}), ``(batch,)`` nats, entry by entry from the kernels."""
    graph, x = process.graph, process.graph.observed.name
    now = {**{name: np.asarray(states)[:, 1:] for name, states in latents.items()}, x: tokens[:, 1:]}
    before = {**{name: np.asarray(states)[:, :-1] for name, states in latents.items()}, x: tokens[:, :-1]}
    joint = np.zeros(len(tokens), int)
    for node in graph.latents:
        joint = joint * node.num_states + np.asarray(latents[node.name])[:, 0]
    with np.errstate(divide="ignore"):
        total = np.log(first_law(process)[tokens[:, 0], joint])
        for node in graph.order:
            own = (before[node.name],) if node.sees_itself else ()
            parents = (before[name] if name == x else now[name] for name in node.parents)
            total = total + np.log(process.kernel(node.name)[(*own, *parents, now[node.name])]).sum(1)
    return total
