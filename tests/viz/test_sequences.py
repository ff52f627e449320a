import json

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.process.process import Process

FEEDBACK = Graph(
    nodes=[
        {"name": "Z", "num_states": 2, "parents": ["X"]},
        {"name": "X", "num_states": 3, "parents": ["Z"], "observed": True, "recurrent": True},
    ]
)


def size(figure) -> int:
    return len(json.dumps(json.loads(figure.to_json())))


def traces(figure, name: str):
    return [trace for trace in figure.data if trace.name == name]


# The graph with its edges' information


@pytest.mark.parametrize("graph", [Graph.random_dag(4, 0.6, 0, num_states=3), FEEDBACK], ids=["dag", "feedback"])
def test_edges_are_as_wide_as_what_their_ends_share(graph):
    information = n2n.edge_information(Process(graph))
    figure = n2n.viz.draw_graph(graph, information)
    loops = [row for row in information.itertuples() if row.parent == row.child]
    across = {(row.parent, row.child): row.information for row in information.itertuples() if row.parent != row.child}
    circles = [shape for shape in figure.layout.shapes if not shape.fillcolor]
    assert len(circles) == len(loops)
    assert len(figure.layout.annotations) == len(across)
    widths = [arrow.arrowwidth for arrow in figure.layout.annotations]
    most = information["information"].max()
    expected = [1 + 5 * across[parent, child] / most for parent, child in graph.networkx().edges]
    assert widths == pytest.approx(expected)
    assert sorted(circle.line.width for circle in circles) == pytest.approx(
        sorted(1 + 5 * row.information / most for row in loops)
    )


def test_a_pointer_is_told_of_each_edge_at_its_middle():
    information = n2n.edge_information(Process(FEEDBACK))
    _, told, scale = n2n.viz.draw_graph(FEEDBACK, information).data
    nats = {(row.parent, row.child, row.lag): f"{row.information:.3g}" for row in information.itertuples()}
    assert set(told.hovertext) == {
        f"Z at t - 1 → Z at t: {nats['Z', 'Z', 1]} nats",
        f"X at t - 1 → Z at t: {nats['X', 'Z', 1]} nats",
        f"X at t - 1 → X at t: {nats['X', 'X', 1]} nats",
        f"Z at t → X at t: {nats['Z', 'X', 0]} nats",
    }
    labels = n2n.viz.draw_graph(FEEDBACK).data[0]
    for x, y, text in zip(told.x, told.y, told.hovertext, strict=True):
        if "Z at t → X" in text:
            assert (x, y) == pytest.approx((np.mean(labels.x), np.mean(labels.y)), abs=0.01)
    assert scale.marker.colorbar.title.text == "mutual information, nats"
    assert scale.marker.cmax == information["information"].max()


def test_every_edge_needs_its_information():
    information = n2n.edge_information(Process(FEEDBACK))
    with pytest.raises(ValueError, match="saw no row for X at t - 1 → X at t"):
        n2n.viz.draw_graph(FEEDBACK, information[information["child"] != "X"])


def test_edges_that_share_nothing_are_thin():
    information = n2n.edge_information(Process(FEEDBACK)).assign(information=0.0)
    figure = n2n.viz.draw_graph(FEEDBACK, information)
    assert {arrow.arrowwidth for arrow in figure.layout.annotations} == {1.0}


# Kernels


def test_a_kernel_s_rows_are_its_joint_states():
    process = Process(Graph.preset("sparse"), 3)
    figure = n2n.viz.draw_kernels(process)
    assert [note.text for note in figure.layout.annotations] == [
        f"<b>{name}</b>" for name in ("Z1", "Z2", "Z3", "Z4", "X")
    ]
    third = figure.data[2]
    assert np.array(third.z) == pytest.approx(process.kernel("Z3").reshape(36, 6), abs=5.1e-4)
    assert third.z[third.y.index("2 5")] == pytest.approx(process.kernel("Z3")[2, 5].tolist(), abs=5.1e-4)
    assert "Z3 at t - 1, Z1 at t: %{y}" in third.hovertemplate
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_a_large_kernel_is_averaged_and_says_so():
    process = Process(Graph.preset("slow_switch"))
    figure = n2n.viz.draw_kernels(process, ["X"])
    (trace,) = figure.data
    assert np.array(trace.z) == pytest.approx(process.kernel("X").reshape(64, 4, 64, 2).mean(axis=(1, 3)), abs=5.1e-4)
    assert "256 rows averaged to 64" in figure.layout.annotations[0].text
    assert "128 columns averaged to 64" in figure.layout.annotations[0].text
    assert "mean probability" in trace.hovertemplate
    assert (trace.y[1], trace.y[-1]) == ("0 4 to 0 7", "15 12 to 15 15")
    assert (trace.x[1], trace.x[-1]) == ("2 to 3", "126 to 127")


def test_uneven_blocks_have_their_own_ends():
    """50 symbols in 48 columns: the first two columns hold two each."""
    graph = Graph.independent(4, num_states=2, vocab_size=50)
    (*_, trace) = n2n.viz.draw_kernels(Process(graph)).data
    assert trace.x[:4] == ("0 to 1", "2 to 3", "4", "5")
    assert trace.x[-1] == "49"


def test_kernels_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="saw 21 nodes; 1 to 12 are drawn at once"):
        n2n.viz.draw_kernels(Process(Graph.chain(20, 2)))
    with pytest.raises(ValueError, match="unknown node 'Z9'"):
        n2n.viz.draw_kernels(Process(Graph.chain(2)), ["Z9"])
    with pytest.raises(ValueError, match="redrawn for every sequence"):
        n2n.viz.draw_kernels(Process(Graph.chain(2, mode="context")))


# Sequences


def seen(process: Process, length: int = 20):
    sample = process.sample(3, length=length)
    return sample, n2n.filter(process, sample.tokens, beliefs=True)


def test_beliefs_and_paths_lie_on_one_another():
    process = Process(Graph.preset("sparse", alpha_z=0.3), 1)
    sample, oracle = seen(process)
    figure = n2n.viz.draw_beliefs(sample, oracle, 2)
    paths = traces(figure, "true state")
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    names = list(process.graph.latent_names)
    for name, path, belief in zip(names, paths, maps, strict=False):
        assert list(path.y) == sample.latents[name][2].tolist()
        assert list(path.x) == list(belief.x) == list(range(20))
        assert np.array(belief.z) == pytest.approx(oracle.beliefs[name][2].numpy().T, abs=5.1e-4)
        assert path.yaxis == belief.yaxis
    assert [axis.title.text for axis in figure.select_yaxes()] == [*names, "token", "loss, nats"]
    assert np.array(maps[-1].z).tolist() == [sample.tokens[2].tolist()]
    (loss,) = traces(figure, "oracle")
    assert list(loss.x) == list(range(1, 20))
    assert list(loss.y) == pytest.approx(oracle.nll[2].tolist(), abs=5.1e-5)
    assert loss.line.color == n2n.viz.style.ORACLE
    assert "averaged" not in figure.layout.title.text


def test_many_beliefs_are_averaged_and_paths_are_not():
    process = Process(Graph.preset("single"))
    sample, oracle = seen(process, 480)
    figure = n2n.viz.draw_beliefs(sample, oracle)
    belief, path = figure.data[:2]
    mean = oracle.beliefs["Z1"][0].numpy().reshape(96, 5, 64).mean(axis=1).T
    assert np.array(belief.z) == pytest.approx(mean, abs=5.1e-4)
    assert list(belief.x)[:2] == [2.0, 7.0]
    assert list(path.y) == sample.latents["Z1"][0].tolist()
    assert "Z1: 480 times averaged to 96" in figure.layout.title.text


def test_a_chain_of_tokens_has_no_latents_to_show():
    chain = Graph(nodes=[{"name": "X", "num_states": 3, "observed": True, "recurrent": True}])
    figure = n2n.viz.draw_beliefs(*seen(Process(chain)))
    assert [axis.title.text for axis in figure.select_yaxes()] == ["token", "loss, nats"]


def test_an_oracle_of_something_else_is_refused():
    process = Process(Graph.preset("sparse"))
    sample, oracle = seen(process)
    with pytest.raises(ValueError, match=r"saw beliefs of \[\]; those of .*'Z4'\], are needed"):
        n2n.viz.draw_beliefs(sample, n2n.filter(process, sample.tokens))
    with pytest.raises(ValueError, match=r"saw beliefs of \['Z1', .*; those of the sample's latents, \[\], are needed"):
        n2n.viz.draw_beliefs(process.sample(3, length=20, latents=False), oracle)
    with pytest.raises(ValueError, match=r"saw nll of shape \(3, 19\); \(3, 20\) is needed"):
        n2n.viz.draw_beliefs(process.sample(3, length=21), oracle)
    with pytest.raises(ValueError, match="row: saw 3; a whole number from 0 to 2"):
        n2n.viz.draw_beliefs(sample, oracle, 3)


def test_ribbons_show_the_tokens_and_no_symbol_looks_like_the_oracle():
    tokens = Process(Graph.preset("slow_switch")).sample(5, length=30).tokens
    (ribbon,) = n2n.viz.token_ribbons(tokens).data
    assert np.array(ribbon.z).tolist() == tokens.tolist()
    assert ribbon.texttemplate == "%{z}"
    assert n2n.viz.token_ribbons(np.zeros((2, 64), int)).data[0].texttemplate is None
    every = n2n.viz.token_ribbons(np.arange(128)[None]).data[0]
    colours = {colour for _, colour in every.colorscale}
    assert len(colours) > 120
    vermilion = np.array([0xD5, 0x5E, 0x00])
    rgb = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    assert np.abs(rgb - vermilion).max(axis=1).min() > 40


def test_a_symbol_has_one_colour_whatever_else_is_shown():
    few, many = (n2n.viz.token_ribbons(np.arange(n)[None]).data[0].colorscale for n in (3, 50))
    assert [colour for _, colour in few] == [colour for _, colour in many[:6]]


def test_tokens_that_are_none_are_refused():
    for wrong in (np.zeros(3, int), np.full((2, 3), -1), np.zeros((0, 4), int), np.zeros((100, 201), int)):
        with pytest.raises(ValueError, match=r"integers \(batch, T\) from 0, at most 20,000"):
            n2n.viz.token_ribbons(wrong)
    with pytest.raises(ValueError, match="type float64; integers are needed"):
        n2n.viz.token_ribbons(np.zeros((2, 3)))


# How hard


def test_losses_are_drawn_with_what_each_gains():
    table = pd.DataFrame({"loss": [3.0, 2.0, 1.5, 1.0], "half": [0, 0, 0, 0.1]}, index=["a", "b", "c", "oracle"])
    bars, dots = n2n.viz.draw_losses(table).data
    assert list(bars.x) == [0.0, 1.0, 0.5, 0.5]
    assert list(bars.base) == list(dots.x) == [3.0, 2.0, 1.5, 1.0]
    assert list(dots.error_x.array) == [0, 0, 0, 0.1]
    assert dots.y[3] == "oracle<br><b>1.000 ± 0.100</b>"
    assert [colour == n2n.viz.style.ORACLE for colour in dots.marker.color] == [False, False, False, True]


def test_best_losses_of_a_published_process():
    """mess3, x = 0.15 and a = 0.6, as in tests/test_markov.py; the oracle's is the mean of what 1 .. 7 tokens tell."""
    process = Process.classic("mess3", x=0.15, a=0.6)
    table = n2n.best_losses(process, 8, precision=0.001)
    assert table["loss"].tolist()[:3] == pytest.approx([np.log(3), 1.098612, 1.091068], abs=1e-6)
    exact = np.mean([n2n.markov_entropy(process, k) for k in range(1, 8)])
    assert abs(table["loss"].iloc[3] - exact) < 2 * table["half"].iloc[3]
    assert 0 < table["half"].iloc[3] < 0.00197
    assert table["half"].tolist()[:3] == [0, 0, 0]
    assert list(table.index) == ["uniform guess", "unigram", "bigram", "oracle, 8 tokens"]


def test_best_losses_refuse():
    with pytest.raises(ValueError, match="mode 'context' redraws"):
        n2n.best_losses(Process(Graph.chain(2, mode="context")), 12)
    for length in (1, None):
        with pytest.raises(ValueError, match=f"length: saw {length}"):
            n2n.best_losses(Process(Graph.chain(2)), length)


# All of them


@pytest.mark.parametrize("name", ["single", "dense", "eight_chains", "slow_switch"])
def test_figures_of_the_presets_are_small_json(name):
    process = Process(Graph.preset(name))
    sample, oracle = seen(process, 64)
    graph = n2n.viz.draw_graph(process.graph, n2n.edge_information(process))
    for figure in (graph, n2n.viz.draw_kernels(process), n2n.viz.draw_beliefs(sample, oracle)):
        assert size(figure) < 60_000


def test_the_largest_figures_stay_under_200_kb():
    process = Process(Graph.independent(2, num_states=64, vocab_size=64, alpha_z=1.0, alpha_x=1.0))
    sample, oracle = seen(process, 500)
    assert size(n2n.viz.draw_beliefs(sample, oracle)) < 200_000
    assert size(n2n.viz.draw_kernels(process)) < 200_000
    assert size(n2n.viz.token_ribbons(np.arange(20_000).reshape(40, 500) % 128)) < 200_000
