"""The designs of n2n, by name."""

from __future__ import annotations

from n2n.experiments.design import Design, Level
from n2n.graph.graph import Graph
from n2n.utils.strict import unknown_name_message

VOCAB, ALPHA_X = 32, 0.01


def _compose() -> Design:
    shapes = ((1, 64), (2, 8), (3, 4), (6, 2))
    graphs = {
        f"{nodes}x{states}": Graph.independent(nodes, num_states=states, vocab_size=VOCAB, alpha_x=ALPHA_X)
        for nodes, states in shapes
    }
    return Design(
        "compose",
        "nodes",
        [Level(name, graph) for name, graph in graphs.items()],
        question="Is one large latent harder to learn than many small ones, at one entropy and number of joint states?",
        targets=(1.5,),
    )


DESIGNS = {"compose": _compose}


def by_name(name: str) -> Design:
    """The design of this name.

    Raises:
        ValueError: if there is none.
    """
    if name not in DESIGNS:
        raise ValueError(unknown_name_message("design", name, DESIGNS))
    return DESIGNS[name]()
