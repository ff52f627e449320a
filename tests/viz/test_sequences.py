"""Figures of beliefs and tokens hold the values of samples and the oracle, and are small."""

import numpy as np
import pytest
from support.figures import assert_small, traces

import n2n
from n2n.graph.graph import Graph
from n2n.process.process import Process


def sample_and_oracle(process: Process, length: int = 20):
    sample = process.sample(3, length=length)
    return sample, n2n.filter(process, sample.tokens, beliefs=True)


def test_true_paths_are_drawn_over_beliefs():
    process = Process(Graph.preset("sparse", alpha_z=0.3), 1)
    sample, oracle = sample_and_oracle(process)
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


def test_beliefs_are_averaged_and_paths_are_not():
    process = Process(Graph.preset("single"))
    sample, oracle = sample_and_oracle(process, 480)
    figure = n2n.viz.draw_beliefs(sample, oracle)
    belief, path = figure.data[:2]
    mean = oracle.beliefs["Z1"][0].numpy().reshape(96, 5, 64).mean(axis=1).T
    assert np.array(belief.z) == pytest.approx(mean, abs=5.1e-4)
    assert list(belief.x)[:2] == [2.0, 7.0]
    assert list(path.y) == sample.latents["Z1"][0].tolist()
    assert "Z1: 480 times averaged to 96" in figure.layout.title.text


def test_a_graph_without_latents_has_tokens_and_loss():
    chain = Graph(nodes=[{"name": "X", "num_states": 3, "observed": True, "recurrent": True}])
    figure = n2n.viz.draw_beliefs(*sample_and_oracle(Process(chain)))
    assert [axis.title.text for axis in figure.select_yaxes()] == ["token", "loss, nats"]


def test_beliefs_of_another_sample_are_refused():
    process = Process(Graph.preset("sparse"))
    sample, oracle = sample_and_oracle(process)
    with pytest.raises(ValueError, match=r"saw beliefs of \[\]; those of .*'Z4'\], are needed"):
        n2n.viz.draw_beliefs(sample, n2n.filter(process, sample.tokens))
    with pytest.raises(ValueError, match=r"saw beliefs of \['Z1', .*; those of the sample's latents, \[\], are needed"):
        n2n.viz.draw_beliefs(process.sample(3, length=20, latents=False), oracle)
    with pytest.raises(ValueError, match=r"saw nll of shape \(3, 19\); \(3, 20\) is needed"):
        n2n.viz.draw_beliefs(process.sample(3, length=21), oracle)
    with pytest.raises(ValueError, match="row: saw 3; a whole number from 0 to 2"):
        n2n.viz.draw_beliefs(sample, oracle, 3)


def test_ribbons_hold_the_tokens_in_colours_unlike_the_oracle_s():
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


def test_a_symbol_s_colour_does_not_depend_on_the_others():
    few, many = (n2n.viz.token_ribbons(np.arange(n)[None]).data[0].colorscale for n in (3, 50))
    assert [colour for _, colour in few] == [colour for _, colour in many[:6]]


def test_invalid_tokens_are_refused():
    for wrong in (np.zeros(3, int), np.full((2, 3), -1), np.zeros((0, 4), int), np.zeros((100, 201), int)):
        with pytest.raises(ValueError, match=r"integers \(batch, T\) from 0, at most 20,000"):
            n2n.viz.token_ribbons(wrong)
    with pytest.raises(ValueError, match="type float64; integers are needed"):
        n2n.viz.token_ribbons(np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["single", "dense", "eight_chains", "slow_switch"])
def test_figures_of_presets_are_small(name):
    process = Process(Graph.preset(name))
    sample, oracle = sample_and_oracle(process, 64)
    graph = n2n.viz.draw_graph(process.graph, n2n.edge_information(process))
    for figure in (graph, n2n.viz.draw_kernels(process), n2n.viz.draw_beliefs(sample, oracle)):
        assert_small(figure, 60_000)


def test_the_largest_figures_have_less_than_200_kb():
    process = Process(Graph.independent(2, num_states=64, vocab_size=64, alpha_z=1.0, alpha_x=1.0))
    sample, oracle = sample_and_oracle(process, 500)
    assert_small(n2n.viz.draw_beliefs(sample, oracle), 200_000)
    assert_small(n2n.viz.draw_kernels(process), 200_000)
    assert_small(n2n.viz.token_ribbons(np.arange(20_000).reshape(40, 500) % 128), 200_000)
