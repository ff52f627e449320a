"""The figure of a graph holds every node, edge and loop, and the mutual information of edges."""

import numpy as np
import pytest
from support.figures import FEEDBACK

import n2n
from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.process.process import Process


@pytest.mark.parametrize("name", PRESETS)
def test_every_node_and_edge_is_drawn(name):
    graph = Graph.preset(name)
    figure = n2n.viz.draw_graph(graph)
    (labels,) = figure.data
    assert [text.split("</b>")[0].removeprefix("<b>") for text in labels.text] == list(graph.names)
    assert len(figure.layout.annotations) == graph.networkx().number_of_edges()
    circles = len(graph.nodes) + len(graph.latents)  # a disc for each node, a loop for each latent
    assert len(figure.layout.shapes) == circles
    assert f"{graph.num_joint_states:,} joint states" in figure.layout.title.text
    assert len(figure.to_json()) < 50_000


def test_feedback_and_recurrence_are_drawn():
    figure = n2n.viz.draw_graph(FEEDBACK)
    down, up = figure.layout.annotations
    assert down.ay > down.y
    assert up.ay < up.y
    assert abs(down.x - up.x) > 0.1  # side by side
    assert len(figure.layout.shapes) == 4  # two discs, two loops
    assert "sees Z at t - 1, X at t - 1<" in figure.data[0].hovertext[0]
    assert "sees X at t - 1, Z at t<" in figure.data[0].hovertext[1]


def test_a_graph_without_latents_is_drawn():
    figure = n2n.viz.draw_graph(Graph(nodes=[{"name": "X", "num_states": 3, "observed": True, "recurrent": True}]))
    assert len(figure.layout.shapes) == 2
    assert "0 latent nodes, 1 joint state, 3 symbols" in figure.layout.title.text


def test_hover_text_says_which_latents_are_frozen():
    graph = Graph.independent(2, 3, stickiness=1, initial="uniform")
    texts = n2n.viz.draw_graph(graph).data[0].hovertext
    assert texts[0] == "<b>Z1</b>: 3 states<br>frozen: keeps its state at t = 0"
    assert "frozen" not in texts[2]


def test_a_pool_is_in_the_title():
    graph = Graph.chain(1, mode="context", pool=16)
    assert n2n.viz.draw_graph(graph).layout.title.text.endswith(
        "1 latent node, 4 joint states, 32 symbols, 16 kernel sets"
    )


def test_a_dense_graph_of_forty_nodes_has_every_edge():
    figure = n2n.viz.draw_graph(Graph.random_dag(40, 1.0, 0))
    assert len(figure.layout.annotations) == 40 * 39 // 2 + 1


@pytest.mark.parametrize("graph", [Graph.random_dag(4, 0.6, 0, num_states=3), FEEDBACK], ids=["dag", "feedback"])
def test_edges_widen_with_mutual_information(graph):
    information = n2n.edge_information(Process(graph))
    figure = n2n.viz.draw_graph(graph, information)
    loops = [row for row in information.itertuples() if row.parent == row.child]
    across = {(row.parent, row.child): row.information for row in information.itertuples() if row.parent != row.child}
    circles = [shape for shape in figure.layout.shapes if not shape.fillcolor]
    assert len(circles) == len(loops)
    assert len(figure.layout.annotations) == len(across)
    widths = [arrow.arrowwidth for arrow in figure.layout.annotations]
    largest = information["information"].max()
    expected = [1 + 5 * across[parent, child] / largest for parent, child in graph.networkx().edges]
    assert widths == pytest.approx(expected)
    assert sorted(circle.line.width for circle in circles) == pytest.approx(
        sorted(1 + 5 * row.information / largest for row in loops)
    )


def test_hover_texts_at_the_middle_of_each_edge():
    information = n2n.edge_information(Process(FEEDBACK))
    _, middles, scale = n2n.viz.draw_graph(FEEDBACK, information).data
    nats = {(row.parent, row.child, row.lag): f"{row.information:.3g}" for row in information.itertuples()}
    assert set(middles.hovertext) == {
        f"Z at t - 1 → Z at t: {nats['Z', 'Z', 1]} nats",
        f"X at t - 1 → Z at t: {nats['X', 'Z', 1]} nats",
        f"X at t - 1 → X at t: {nats['X', 'X', 1]} nats",
        f"Z at t → X at t: {nats['Z', 'X', 0]} nats",
    }
    labels = n2n.viz.draw_graph(FEEDBACK).data[0]
    for x, y, text in zip(middles.x, middles.y, middles.hovertext, strict=True):
        if "Z at t → X" in text:
            assert (x, y) == pytest.approx((np.mean(labels.x), np.mean(labels.y)), abs=0.01)
    assert scale.marker.colorbar.title.text == "mutual information, nats"
    assert scale.marker.cmax == information["information"].max()


def test_a_table_without_an_edge_is_refused():
    information = n2n.edge_information(Process(FEEDBACK))
    with pytest.raises(ValueError, match="saw no row for X at t - 1 → X at t"):
        n2n.viz.draw_graph(FEEDBACK, information[information["child"] != "X"])


def test_edges_without_mutual_information_are_thin():
    information = n2n.edge_information(Process(FEEDBACK)).assign(information=0.0)
    figure = n2n.viz.draw_graph(FEEDBACK, information)
    assert {arrow.arrowwidth for arrow in figure.layout.annotations} == {1.0}


def test_draw_graph_takes_a_graph_a_process_or_a_name():
    graph = Graph.preset("two_chains")
    figure = n2n.viz.draw_graph(graph)
    assert n2n.viz.draw_graph(Process(graph)) == n2n.viz.draw_graph("two_chains") == figure
    with pytest.raises(ValueError, match="graph: saw 3; a Graph, a Process or a preset's name is needed"):
        n2n.viz.draw_graph(3)
    with pytest.raises(ValueError, match="graph: saw <networkx"):
        n2n.viz.draw_graph(graph.networkx())
