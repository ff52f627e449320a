import re

import networkx as nx
import plotly.io
import pytest
from IPython.core.formatters import DisplayFormatter

from n2n.graph.graph import Graph
from n2n.graph.node import Node

X = Node(name="X", num_states=4, parents=("A",), observed=True)


def graph_of(*nodes: Node) -> Graph:
    return Graph(nodes=nodes)


def test_order_puts_parents_first_and_x_last():
    graph = graph_of(X, Node(name="A", num_states=2, parents=("B",)), Node(name="B", num_states=3))
    assert list(graph.names) == ["B", "A", "X"]
    assert graph.num_joint_states == 6


def test_names_sizes_and_edges_follow_the_nodes():
    nodes = (Node("X", 5, ["A"], observed=True), Node("A", 2, ["B", "X"]), Node("B", 3))
    graph = Graph(nodes)
    assert (graph.names, graph.latent_names, graph.latent_sizes) == (("B", "A", "X"), ("B", "A"), (3, 2))
    assert graph.edges == (("A", "X"), ("B", "A"), ("X", "A"))
    assert set(graph.edges) == set(graph.networkx().edges)


@pytest.mark.parametrize(
    ("parents", "recurrent", "feeds_back", "uses_previous_token"),
    [((), False, False, False), ((), True, False, True), (("X",), False, True, True), (("X",), True, True, True)],
)
def test_nodes_that_depend_on_the_previous_token(parents, recurrent, feeds_back, uses_previous_token):
    graph = Graph([Node("A", 2, parents), Node("X", 3, ["A"], observed=True, recurrent=recurrent)])
    assert (graph.feeds_back, graph.uses_previous_token) == (feeds_back, uses_previous_token)
    assert [graph.sees_x(node) for node in graph.order] == [feeds_back, recurrent]


def test_networkx_view_holds_nodes_and_edges():
    digraph = Graph.preset("slow_switch").networkx()
    assert isinstance(digraph, nx.DiGraph)
    assert set(digraph.edges) == {("Z1", "Z2"), ("Z1", "X"), ("Z2", "X")}
    assert digraph.nodes["Z1"]["mode"] == "slow"


def test_a_copy_has_its_own_order():
    graph = Graph.preset("four_chains")
    assert len(graph.order) == 5
    fewer = [node for node in graph.nodes if node.name in ("Z1", "Z2")]
    copy = graph.model_copy(update={"nodes": [*fewer, X.model_copy(update={"parents": ("Z1", "Z2")})]})
    assert [node.name for node in copy.order] == ["Z1", "Z2", "X"]
    assert copy.vocab_size == 4


def test_kernel_sizes():
    graph = Graph.preset("slow_switch")
    assert [graph.kernel_size(node) for node in graph.order] == [16**2, 16**3, 16**2 * 128]


def test_feedback_is_a_lagged_edge_and_not_a_cycle():
    graph = graph_of(X, Node(name="A", num_states=2, parents=("X",)))
    assert {(a, b): lag for a, b, lag in graph.networkx().edges(data="lag")} == {("A", "X"): 0, ("X", "A"): 1}
    assert list(graph.names) == ["A", "X"]
    assert graph.kernel_size(graph["A"]) == 2 * 4 * 2


def test_a_graph_without_latents_is_a_chain_of_tokens():
    graph = graph_of(Node(name="X", num_states=3, observed=True, recurrent=True, mode="slow", stickiness=0.5))
    assert graph.latents == ()
    assert (graph.num_joint_states, graph.kernel_size(graph.observed)) == (1, 9)


def test_a_graph_is_the_same_after_json():
    graph = Graph.preset("dense")
    assert Graph(**graph.model_dump(mode="json")) == graph


def test_a_graph_prints_as_a_table_of_fields_that_differ_from_defaults():
    assert str(Graph.preset("slow_switch", alpha_z=0.5)).splitlines() == [
        "slow_switch: joint states 256, vocab size 128, initial zero",
        "name  states  sees         alpha  mode",
        "Z1    16      Z1[t-1]      0.5    slow",
        "Z2    16      Z2[t-1], Z1  0.5    default",
        "X     128     Z1, Z2       0.01   default",
    ]
    assert str(graph_of(X, Node(name="A", num_states=2, parents=("X",)))).splitlines() == [
        "joint states 2, vocab size 4, initial zero",
        "name  states  sees",
        "A     2       A[t-1], X[t-1]",
        "X     4       A",
    ]


def test_a_pool_is_a_field_of_graphs_with_context_nodes():
    nodes = [Node("A", 2, mode="context"), Node("X", 4, ["A"], observed=True)]
    graph = Graph(nodes, pool=1000)
    assert str(graph).startswith("joint states 2, vocab size 4, initial zero, pool of 1,000 kernel sets\n")
    assert Graph(**graph.model_dump(mode="json")) == graph
    assert graph != Graph(nodes)
    for dumped in (Graph(nodes).model_dump(), Graph(nodes).model_dump(mode="json", exclude_defaults=True)):
        assert "pool" not in dumped  # records and hashes of graphs without a pool are those of earlier versions


def test_a_frozen_latent_and_its_initial_law_are_fields_of_a_graph():
    """Records and hashes of nodes without an initial law are those of earlier versions."""
    graph = Graph([X, Node("A", 2, stickiness=1, initial=[0.25, 0.75])], initial="uniform")
    assert graph.frozen_latents == (graph["A"],)
    assert Graph(**graph.model_dump(mode="json")) == graph == Graph.from_networkx(graph.networkx())
    assert "initial" in graph["A"].model_dump()
    for dumped in (X.model_dump(), Node("A", 2, stickiness=1).model_dump(mode="json", exclude_defaults=True)):
        assert "initial" not in dumped


def test_families_of_chains_can_be_frozen():
    graph = Graph.independent(2, 3, 5, stickiness=1, initial="uniform")
    assert [node.name for node in graph.frozen_latents] == ["Z1", "Z2"]


def test_jupyter_displays_table_and_figure(monkeypatch):
    graph, figure = Graph.preset("sparse"), "application/vnd.plotly.v1+json"
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")  # the default in a kernel
    data, _ = DisplayFormatter().format(graph)
    assert data["text/plain"] == str(graph)
    assert data[figure]["layout"]["title"]["text"].startswith("sparse: 4 latent nodes")
    monkeypatch.setattr(plotly.io.renderers, "default", "")  # the default without a kernel
    assert set(DisplayFormatter().format(graph)[0]) == {"text/plain"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Graph.preset("sprase"), "unknown graph 'sprase'; did you mean 'sparse'"),
        (lambda: Graph.preset("sparse", alpha_z=0), "alpha: saw 0"),
        (lambda: Graph.preset("sparse", alpha_x=float("nan")), "alpha: saw nan"),
        (lambda: Node(name="A", num_states=0), "num_states: saw 0"),
        (lambda: Node(name="A", num_states=2, mode="slo"), "did you mean 'slow'"),
        (lambda: Node(name="A", num_states=2, kernel="ful"), "did you mean 'full'"),
        (lambda: Node(name="A", num_states=2, states=3), "unknown parameter 'states'"),
        (lambda: Node(name="A", num_states=2, parents=("B", "B")), "'B' is repeated"),
        (lambda: Node(name="X", num_states=2, mode="slow", observed=True), "mode 'slow' needs a previous state"),
        (lambda: Node(name="A", num_states=2, parents={"B", "C"}), "a set, which has no order"),
        (lambda: Graph.preset(["sparse"]), "unknown graph ['sparse']"),
        (lambda: graph_of(Node(name="A", num_states=2)), "saw 0 observed nodes"),
        (lambda: graph_of(Node(name="X", num_states=2, observed=True)), "X: saw no parents"),
        (lambda: graph_of(X, Node(name="A", num_states=2), X.model_copy(update={"name": "Y"})), "saw 2 observed nodes"),
        (lambda: graph_of(X, Node(name="A", num_states=2), Node(name="A", num_states=3)), "'A' is defined 2 times"),
        (lambda: graph_of(X, Node(name="B", num_states=2)), "X: unknown parent 'A'"),
        (lambda: graph_of(Node(name="X", num_states=2, parents=("X",), observed=True)), "X: saw itself as a parent"),
        (lambda: Node(name="A", num_states=2, recurrent=True), "recurrent marks the observed node"),
        (lambda: Node(name="A", num_states=2, stickiness=1.001), "stickiness: saw 1.001"),
        (lambda: Node(name="A", num_states=2, stickiness=True), "stickiness: saw True, a boolean"),
        (lambda: Node("X", 2, observed=True, recurrent=True, stickiness=1), "freezes the observed node"),
        (lambda: Node("A", 2, ["B"], stickiness=1), "A: stickiness 1 freezes the state, so the parents ['B'] have no"),
        (lambda: Node("A", 2, ["X"], stickiness=1), "so the parents ['X'] have no effect"),
        (lambda: Graph.chain(2, stickiness=1, initial="uniform"), "so the parents ['Z1'] have no effect"),
        (lambda: Node("A", 2, initial=[0.5, 0.5]), "initial is for frozen latents, and stickiness is 0 rather than 1"),
        (lambda: Node("A", 2, initial=[0.5, 0.4], stickiness=1), "2 numbers with sum 0.9; 2 probabilities"),
        (lambda: Node("A", 2, initial=[1 / 3] * 3, stickiness=1), "3 numbers with sum 1; 2 probabilities"),
        (lambda: Node("A", 2, initial=[1.5, -0.5], stickiness=1), "initial.1: saw -0.5"),
        (lambda: Graph([X, Node("A", 2, stickiness=1)]), "initial: 'zero' would leave the frozen latents ['A']"),
        (
            lambda: Graph([X, Node("A", 2, stickiness=1, mode="context")], initial="uniform", pool=3),
            "a pool is of kernels of nodes in mode 'context', and no node is",
        ),
        (lambda: Node(name="X", num_states=2, stickiness=0.5, observed=True), "a stickiness needs a previous state"),
        (lambda: graph_of(X, Node(name="A", num_states=2, parents=("A",))), "cycle: A -> A"),
        (
            lambda: graph_of(
                X, Node(name="A", num_states=2, parents=("B",)), Node(name="B", num_states=2, parents=("A",))
            ),
            "in a cycle: ",
        ),
        (lambda: Graph(nodes=(X, Node(name="A", num_states=2)), initial="unifrom"), "initial: saw 'unifrom'"),
        (lambda: Graph(nodes=(X, Node(name="A", num_states=2)), pool=3), "pool: saw 3; a pool is of kernels of nodes"),
        (lambda: Graph(nodes=(X, Node("A", 2, mode="context")), pool=0), "pool: saw 0; it must be greater than 0"),
        (lambda: Graph(nodes=(X, Node("A", 2, mode="context")), pool=2**32 + 1), "pool: saw 4294967297"),
        (lambda: Graph(nodes=(X, Node("A", 2, mode="context")), pool=True), "pool: saw True, a boolean"),
        (lambda: Graph(nodes=(X, Node("A", 2, mode="context")), pool=2.5), "pool: saw 2.5"),
    ],
)
def test_invalid_graphs_are_refused(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
