"""The designs of n2n, by name."""

from __future__ import annotations

from collections.abc import Sequence

from n2n.experiments.design import Design, Level, Size
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.utils.strict import unknown_name_message

VOCAB, ALPHA_X = 32, 0.01


def _independent(shapes: Sequence[tuple[int, int]], **options) -> dict[str, Graph]:
    """Independent chains, named ``<nodes>x<states>``."""
    options = {"vocab_size": VOCAB, "alpha_x": ALPHA_X, **options}
    return {f"{nodes}x{states}": Graph.independent(nodes, num_states=states, **options) for nodes, states in shapes}


def _levels(graphs: dict[str, Graph]) -> list[Level]:
    return [Level(name, graph) for name, graph in graphs.items()]


def _compose() -> Design:
    return Design(
        "compose",
        "nodes",
        _levels(_independent([(1, 64), (2, 8), (3, 4), (6, 2)])),
        question="Is one large latent harder to learn than many small ones, at one entropy and number of joint states?",
        targets=(1.5,),
    )


def _compose_product() -> Design:
    graphs = _independent([(2, 8), (3, 4), (6, 2)], kernel="product")
    return Design(
        "compose_product",
        "nodes",
        [Level(f"{name}-product", graph) for name, graph in graphs.items()],
        question="Are many small latents easier to learn if their effects on the token are a product?",
        targets=(1.5,),
    )


def _compose_large() -> Design:
    return Design(
        "compose_large",
        "nodes",
        _levels(_independent([(1, 1296), (2, 36), (4, 6)])),
        question="Does the order of the levels of `compose` hold for 1,296 joint states?",
        targets=(1.5,),
        tuning=1,
        calibration_sequences=128,
    )


def _infer_or_predict() -> Design:
    graphs = {f"{alpha:g}": _independent([(2, 8)], alpha_x=alpha)["2x8"] for alpha in (0.001, 0.01, 0.03, 0.06, 0.1)}
    return Design(
        "infer_or_predict",
        "alpha_x",
        _levels(graphs),
        question="At one entropy, is a latent harder to learn if it is hard to infer, or if it is hard to predict?",
        targets=(2.0,),
    )


def _hardness(name: str, sizes: Sequence[Size], steps: Sequence[int]) -> Design:
    graphs = {str(states): _independent([(1, states)])[f"1x{states}"] for states in (16, 64, 256, 512)}
    return Design(
        name,
        "states",
        _levels(graphs),
        question="How does excess loss grow with the number of states of one latent, at one entropy?",
        targets=(1.5,),
        sizes=sizes,
        steps=steps,
        tuning=1,
    )


def _independence() -> Design:
    edges = {"none": (), "pairs": ((1, 2), (3, 4)), "chain": ((1, 2), (2, 3), (3, 4))}
    edges["all"] = tuple((i, j) for j in range(1, 5) for i in range(1, j))
    return Design(
        "independence",
        "edges",
        [Level(name, _four_latents(pairs)) for name, pairs in edges.items()],
        question="Do edges between latents make a process harder to learn, at one entropy and number of states?",
        targets=(1.5,),
    )


def _four_latents(edges: Sequence[tuple[int, int]]) -> Graph:
    """Four latents of 4 states with edges between them; X sees all four whatever the edges are."""
    parents = {j: [f"Z{i}" for i, child in edges if child == j] for j in range(1, 5)}
    latents = [Node(f"Z{j}", 4, parents[j]) for j in range(1, 5)]
    x = Node("X", VOCAB, [node.name for node in latents], observed=True, alpha=ALPHA_X)
    return Graph([*latents, x])


def _density() -> Design:
    return Design(
        "density",
        "preset",
        [Level(name, Graph.preset(name)) for name in ("sparse", "dense")],
        question="Is the preset `dense` harder to learn than `sparse` at one entropy, at every width?",
        targets=(1.5,),
        sizes=(Size(16), Size(32), Size(64)),
        tuning=1,
    )


def _modes() -> Design:
    options = {"default": {}, "slow": {"mode": "slow"}, "dead": {"mode": "dead"}}
    options |= {f"sticky-{stay:g}": {"stickiness": stay} for stay in (0.5, 0.8, 0.9)}
    return Design(
        "modes",
        "mode",
        [Level(name, _independent([(2, 8)], **chosen)["2x8"]) for name, chosen in options.items()],
        question="At one entropy, are latents easier to learn if they stay, or if they fall into one state?",
        targets=(1.0,),
    )


def _few_sequences() -> Design:
    return Design(
        "few_sequences",
        "nodes",
        _levels(_independent([(1, 64), (3, 4)])),
        question="From how many distinct sequences does a learner generalise rather than memorise?",
        targets=(1.5,),
        sequences=(30, 100, 300, 1_000, 3_000, 10_000, 30_000),
        steps=(1_000,),
        lrs=(3e-3, 1e-2, 3e-2),
        tuning=1,
        training={"select": "best", "eval_every": 100, "patience": 4},
    )


DESIGNS = {
    "compose": _compose,
    "compose_product": _compose_product,
    "compose_large": _compose_large,
    "infer_or_predict": _infer_or_predict,
    "hardness": lambda: _hardness("hardness", [Size(32)], [150, 500, 1500]),
    "hardness_width": lambda: _hardness("hardness_width", [Size(16), Size(64)], [500]),
    "independence": _independence,
    "density": _density,
    "modes": _modes,
    "few_sequences": _few_sequences,
}


def by_name(name: str) -> Design:
    """The design of this name.

    Raises:
        ValueError: if there is none.
    """
    if name not in DESIGNS:
        raise ValueError(unknown_name_message("design", name, DESIGNS))
    return DESIGNS[name]()
