import json

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.utils.statistics import student_quantile
from n2n.viz.graph_layout import layout, radius


@pytest.fixture
def run(small) -> n2n.Run:
    return n2n.train(small(steps=12))


def trace(figure, name: str):
    return next(trace for trace in figure.data if trace.name == name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_graph_s_figure_holds_every_node_and_edge(name):
    graph = Graph.preset(name)
    figure = n2n.viz.draw_graph(graph)
    (labels,) = figure.data
    assert [text.split("</b>")[0].removeprefix("<b>") for text in labels.text] == list(graph.names)
    assert len(figure.layout.annotations) == graph.networkx().number_of_edges()
    circles = len(graph.nodes) + len(graph.latents)  # a disc a node, a loop a latent
    assert len(figure.layout.shapes) == circles
    assert f"{graph.num_joint_states:,} joint states" in figure.layout.title.text
    assert len(figure.to_json()) < 50_000


def test_feedback_and_recurrence_are_drawn():
    z = {"name": "Z", "num_states": 2, "parents": ["X"]}
    x = {"name": "X", "num_states": 2, "parents": ["Z"], "observed": True, "recurrent": True}
    figure = n2n.viz.draw_graph(Graph(nodes=[z, x]))
    down, up = figure.layout.annotations
    assert down.ay > down.y
    assert up.ay < up.y
    assert abs(down.x - up.x) > 0.1  # side by side
    assert len(figure.layout.shapes) == 4  # two discs, two loops
    assert "sees Z at t - 1, X at t - 1<" in figure.data[0].hovertext[0]
    assert "sees X at t - 1, Z at t<" in figure.data[0].hovertext[1]


def test_a_chain_of_tokens_is_drawn():
    figure = n2n.viz.draw_graph(Graph(nodes=[{"name": "X", "num_states": 3, "observed": True, "recurrent": True}]))
    assert len(figure.layout.shapes) == 2
    assert "0 latent nodes, 1 joint state, 3 symbols" in figure.layout.title.text


GRAPHS = {name: Graph.preset(name) for name in PRESETS} | {
    graph.name: graph
    for graph in (Graph.chain(8), Graph.tree(3, 2), *(Graph.random_dag(8, 0.4, seed) for seed in range(8)))
}


@pytest.mark.parametrize("name", GRAPHS)
def test_no_edge_passes_through_a_node(name):
    graph, place = GRAPHS[name], layout(GRAPHS[name])
    for parent, child in graph.networkx().edges:
        assert place[parent][1] > place[child][1]  # all arrows point down
    for parent, child in graph.networkx().edges:
        tail, head = np.array(place[parent]), np.array(place[child])
        for other in set(place) - {parent, child}:
            along = np.clip((np.array(place[other]) - tail) @ (head - tail) / ((head - tail) @ (head - tail)), 0, 1)
            distance = np.linalg.norm(tail + along * (head - tail) - np.array(place[other]))
            assert distance > radius(graph[other]) + 0.05


@pytest.mark.parametrize("name", GRAPHS)
def test_nodes_and_their_loops_lie_apart(name):
    graph, place = GRAPHS[name], layout(GRAPHS[name])
    for left in graph.nodes:
        for right in graph.nodes:
            (x, y), (other_x, other_y) = place[left.name], place[right.name]
            if y == other_y and x < other_x:
                assert x + 1.7 * radius(left) < other_x - radius(right)


def test_a_tree_s_edges_do_not_cross():
    tree = Graph.tree(3, 2)
    place = layout(tree)
    for level in range(1, 4):
        across = [place[f"Z{i}"][0] for i in range(2**level, 2 ** (level + 1))]
        assert across == sorted(across)


def test_a_thicket_is_drawn_whole():
    figure = n2n.viz.draw_graph(Graph.random_dag(40, 1.0, 0))
    assert len(figure.layout.annotations) == 40 * 39 // 2 + 1


def test_the_learning_curve_shows_the_run(run):
    figure = n2n.viz.learning_curve(run)
    rows = run.metrics
    assert list(trace(figure, "transformer").y) == rows["loss"].tolist()
    assert list(trace(figure, "oracle").y) == rows["oracle_nll"].tolist()
    assert list(trace(figure, "oracle").x) == rows["step"].tolist()
    assert {note.text: note.y for note in figure.layout.annotations} == {
        name: run.evaluation[name] for name in ("unigram", "bigram")
    }
    assert figure.layout.yaxis.title.text == "loss, nats per token"


def test_an_unfinished_run_has_its_curve(run):
    (run.path / "evals.jsonl").unlink()
    figure = n2n.viz.learning_curve(run)
    assert list(trace(figure, "oracle").y) == run.metrics["oracle_nll"].tolist()
    assert not figure.layout.annotations
    (run.path / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="has no logged step yet; its state is 'done'"):
        n2n.viz.learning_curve(run)


def test_excess_by_position_shows_mean_and_band(run):
    figure = n2n.viz.excess_by_position(run)
    found = run.evaluation
    line, band = trace(figure, "transformer"), figure.data[0]
    assert list(line.x) == list(range(1, 12))
    assert list(line.y) == found["excess_by_position"]
    upper = np.array(band.y[:11]) - np.array(line.y)
    assert upper == pytest.approx(
        student_quantile(found["sequences"] - 1) * np.array(found["excess_standard_error_by_position"]), rel=1e-4
    )
    assert figure.layout.shapes[0].y0 == 0.0  # the oracle's line
    assert "nats per token" in figure.layout.yaxis.title.text


def test_figures_are_plain_json(run):
    for figure in (n2n.viz.learning_curve(run), n2n.viz.excess_by_position(run)):
        json.loads(figure.to_json())


def test_runs_side_by_side():
    table = pd.DataFrame(
        {"excess_loss": [0.1, np.nan, 0.2], "excess_standard_error": [0.01, np.nan, 0.02], "eval_sequences": 10},
        index=["a", "b", "c"],
    )
    figure = n2n.viz.excess_by_run(table)
    runs = trace(figure, "runs")
    assert (list(runs.x), list(runs.y)) == ([0.1, 0.2], ["a", "c"])
    assert list(runs.error_x.array) == pytest.approx([0.0226, 0.0452], abs=1e-4)
    assert "1 without one" in figure.layout.title.text
    for nothing in (table.iloc[1:2], pd.DataFrame({"state": ["missing"]})):
        with pytest.raises(ValueError, match="no run of the table was evaluated yet"):
            n2n.viz.excess_by_run(nothing)
