"""One step of a belief against the flattened chain, and the split of latents into groups."""

import itertools
from math import prod

import numpy as np
import pytest
import torch
from support.random_graphs import random_graph

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle import transition
from n2n.oracle.forward import Oracle
from n2n.oracle.reference import flatten
from n2n.process.process import Process

CPU, F64 = torch.device("cpu"), torch.float64


def cuts(count: int):
    """All splits of ``range(count)`` into groups of neighbours."""
    for marks in itertools.product([False, True], repeat=max(count - 1, 0)):
        edges = [0, *(i + 1 for i, mark in enumerate(marks) if mark), count]
        yield [tuple(range(a, b)) for a, b in itertools.pairwise(edges)] if count else []


def cost(graph: Graph, cut: list[tuple[int, ...]]) -> float:
    sizes = [node.num_states for node in graph.latents]
    if any(len(group) > 1 and any(graph.sees_x(graph.latents[k]) for k in group) for group in cut):
        return np.inf
    return sum(transition._PASS + transition._PER_STATE * prod(sizes[k] for k in group) for group in cut)


@pytest.mark.parametrize(
    "graph", [*map(Graph.preset, PRESETS), *map(random_graph, range(15))], ids=lambda graph: graph.name
)
def test_the_plan_is_the_cheapest_cut(graph):
    chosen = transition.plan(graph)
    assert chosen in list(cuts(len(graph.latents)))
    assert cost(graph, chosen) == pytest.approx(min(cost(graph, cut) for cut in cuts(len(graph.latents))))


def test_small_chains_are_merged_and_large_chains_are_not():
    assert transition.plan(Graph.preset("two_chains")) == [(0,), (1,)]
    assert max(map(len, transition.plan(Graph.independent(16, 2)))) > 2


def test_the_plan_leaves_out_frozen_latents_where_that_is_cheaper():
    nodes = [Node("R", 64, stickiness=1), Node("A", 9, ["R"]), Node("S", 64, stickiness=1), Node("B", 9, ["S"])]
    graph = Graph(nodes=[*nodes, Node("X", 2, ["A", "B"], observed=True)], initial="uniform")
    assert [graph.latents[k].name for group in transition.plan(graph) for k in group] == ["A", "B"]
    frozen = Graph.independent(3, stickiness=1, initial="uniform")
    assert transition.plan(frozen) == []
    assert transition.table_entries(frozen) == 0


@pytest.mark.parametrize("cut", ["the plan", "one by one", "all at once"])
@pytest.mark.parametrize("seed", range(20))
def test_a_move_equals_the_flattened_chain(seed, cut, monkeypatch):
    """For each token and each split, a move is ``belief @ transitions``, and a move back ``transitions @ message``."""
    graph = random_graph(seed)
    count = len(graph.latents)
    if cut == "one by one":
        monkeypatch.setattr(transition, "plan", lambda _: [(k,) for k in range(count)])
    if cut == "all at once":
        if graph.feeds_back:
            monkeypatch.setattr(transition, "plan", lambda _: [(k,) for k in range(count)])
        else:
            monkeypatch.setattr(transition, "plan", lambda _: [tuple(range(count))])
    process = Process(graph, seed)
    oracle = Oracle.of(process, CPU, F64)
    transitions, _ = flatten(process)
    rng = np.random.default_rng(seed)
    values = rng.random((graph.num_joint_states, 5))
    previous = rng.integers(0, graph.vocab_size, 5)
    forward = oracle.move(torch.tensor(values), torch.tensor(previous)).numpy()
    back = oracle.move_back(torch.tensor(values), torch.tensor(previous)).numpy()
    for b, x in enumerate(previous):
        matrix = transitions[x if len(transitions) > 1 else 0]
        assert forward[:, b] == pytest.approx(values[:, b] @ matrix, abs=1e-12)
        assert back[:, b] == pytest.approx(matrix @ values[:, b], abs=1e-12)


@pytest.mark.parametrize(
    "graph", [*map(Graph.preset, PRESETS), *map(random_graph, range(15))], ids=lambda graph: graph.name
)
def test_table_entries_counts_the_tables_in_memory(graph):
    """The number of entries that the budget counts is the size of the tables in memory."""
    steps = transition.transition_steps(Process(graph), CPU, F64)
    assert sum(step.table.untyped_storage().nbytes() // 8 for step in steps) == transition.table_entries(graph)


@pytest.mark.parametrize("name", ["single", "four_chains", "slow_switch"])
def test_the_whole_table_is_the_flattened_chain(name):
    process = Process(Graph.preset(name), 1)
    assert transition.whole_table(process).numpy() == pytest.approx(flatten(process)[0][0], abs=1e-14)


def test_feedback_has_no_single_matrix():
    graph = random_graph(0)
    assert graph.feeds_back
    with pytest.raises(ValueError, match="saw feedback or no latents"):
        transition.whole_table(Process(graph))
