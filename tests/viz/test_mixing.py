import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

import n2n
from n2n import models
from n2n.analysis.mixing import MixingResult, measure_mixing, token_mixing
from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.viz.mixing import MAX_QUERIES
from n2n.viz.unrolled_graph import MAX_STEPS

LENGTH = 33


@pytest.fixture(scope="module", params=["transformer", "mamba", "mingru"])
def found(request) -> MixingResult:
    model = models.build(request.param, vocab_size=32, dim=16, layers=2, heads=2)
    return measure_mixing(Process(Graph.preset("four_chains")), model, 6, LENGTH)


def with_panels(layers: int, heads: int, length: int = LENGTH) -> MixingResult:
    """Values in the place of a model's, and a graph with feedback and recurrence."""
    z = {"name": "Z", "num_states": 2, "parents": ["X"]}
    x = {"name": "X", "num_states": 3, "parents": ["Z"], "observed": True, "recurrent": True}
    process, rng = Process(Graph(nodes=[z, x])), np.random.default_rng(0)
    sample = process.sample(3, length=length)
    mixing = np.tril(rng.random((3, layers, heads, length - 1, length - 1)))
    influence = np.tril(rng.random((3, length - 1, length - 1)))
    return MixingResult(process.graph, sample.tokens, sample.latents, mixing, influence)


def plain(figure) -> dict:
    text = figure.to_json()
    assert len(text) < 200_000
    return json.loads(text)


def test_values_are_the_model_s_and_the_process_s():
    process, model = Process(Graph.preset("four_chains")), models.build("transformer", vocab_size=32, dim=16)
    found = measure_mixing(process, model, 20, 12)
    sample = process.sample(20, length=12, split="test")
    assert (found.tokens == sample.tokens).all()
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    assert found.mixing == pytest.approx(model.inspect(tokens[:, :-1]).mixing.numpy(), abs=1e-6)
    assert found.influence == pytest.approx(n2n.token_influence(process, sample.tokens).numpy())
    assert found.mixing.shape == (20, 2, 4, 11, 11)
    assert token_mixing(model, sample.tokens[:3]) == pytest.approx(found.mixing[:3], abs=1e-6)


def test_only_integer_sequences_are_mixed():
    model = models.build("transformer", vocab_size=5, dim=16).train()
    with pytest.raises(ValueError, match=r"float64; integers are needed"):
        token_mixing(model, np.full((2, 4), 1.9))
    with pytest.raises(ValueError, match=r"tokens: saw shape \(4,\)"):
        token_mixing(model, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="tokens"):
        token_mixing(model, [[0], [1]])
    assert token_mixing(model, [[0, 1, 2]]).shape == (1, 2, 4, 2, 2)
    assert model.training


def test_maps_show_each_head_and_the_shares_of_the_influence(found):
    figure = n2n.viz.mixing_maps(found, sequence=2, query=30)
    plain(figure)
    first = 31 - MAX_QUERIES
    exact, *heads = figure.data
    assert [trace.hovertemplate.split("<extra>")[1] for trace in heads] == [
        f"block {layer + 1}, head {head}</extra>" for layer, head in product(range(2), repeat=2)
    ]
    for trace, (layer, head) in zip(heads, product(range(2), repeat=2), strict=True):
        for q, s in ((0, 0), (7, 3), (23, 23)):
            expected = found.mixing[2, layer, head, first + q, first + s]
            assert trace.z[q][s] == pytest.approx(expected, rel=1e-5)
        assert np.isnan(trace.z[3][4])
        assert trace.coloraxis == "coloraxis2"
    influence = found.influence[2, first + 9]
    assert exact.z[9][5] == pytest.approx(influence[first + 5] / influence.sum(), rel=1e-5)
    assert exact.customdata[9][5] == pytest.approx(influence[first + 5], rel=1e-5)
    states = ", ".join(f"{name} {path[2, first + 4]}" for name, path in found.latents.items())
    assert exact.x[4] == exact.y[4] == f"t = {first + 4}: token {found.tokens[2, first + 4]} ({states})"
    assert f"tokens {first} to 30" in figure.layout.title.text


def test_signs_have_colours_about_zero(found):
    axis = n2n.viz.mixing_maps(found).layout.coloraxis2
    assert found.signed == (axis.cmin < 0)
    assert axis.cmin in (0, -axis.cmax)
    assert (axis.colorscale[0][1] == "#0072B2") == found.signed


@pytest.mark.parametrize(("layers", "heads", "layer"), [(1, 1, None), (6, 8, None), (12, 12, 7)])
def test_many_heads_have_a_panel_each(layers, heads, layer):
    found = with_panels(layers, heads)
    figure = n2n.viz.mixing_maps(found, layer=layer)
    plain(figure)
    chosen = range(1, layers + 1) if layer is None else [layer]
    names = [f"block {layer}, head {head}" for layer, head in product(chosen, range(heads))]
    assert [note.text for note in figure.layout.annotations if note.text.startswith("block")] == names
    assert [trace.hovertemplate.split("<extra>")[1][:-8] for trace in figure.data[1:]] == names
    assert len({(trace.xaxis, trace.yaxis) for trace in figure.data}) == 1 + len(names)
    assert figure.data[-1].z[-1][0] == pytest.approx(
        found.mixing[0, chosen[-1] - 1, -1, -1, -len(figure.data[-1].z)], rel=1e-5
    )


def test_shares_by_lag_have_bands_and_the_oracle_s_line(found):
    mixing, influence = n2n.mixing_by_lag(found.mixing), n2n.influence_by_lag(found.influence)
    figure = n2n.viz.shares_by_lag(mixing, influence)
    plain(figure)
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert set(lines) == {"exact influence"} | {f"block {i}, head {j}" for i, j in product((1, 2), range(2))}
    assert lines["exact influence"].line.color == "#D55E00"
    assert all(trace.line.color != "#D55E00" for name, trace in lines.items() if name != "exact influence")
    assert list(lines["exact influence"].y) == pytest.approx(influence["share"], rel=1e-3)
    one = mixing.query("layer == 1 and head == 0")
    assert list(lines["block 1, head 0"].y) == pytest.approx(one["share"], rel=1e-3)
    assert list(lines["block 1, head 0"].customdata) == pytest.approx(
        (one["share_high"] - one["share_low"]) / 2, rel=1e-3
    )
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 5
    assert all(min(band.y) > 0 for band in bands)  # an axis of logarithms has no other


def test_agreement_shows_scores_and_their_null(found):
    table = n2n.head_agreement(found.mixing, found.influence)
    figure = n2n.viz.agreement_by_head(table)
    plain(figure)
    scores, less = (trace for trace in figure.data if trace.name == "score")
    middle = (table["null_low"] + table["null_high"]) / 2
    assert list(scores.x) == pytest.approx(table["score"], rel=1e-3)
    assert list(less.x) == pytest.approx(table["score"] - middle, rel=1e-3)
    bars = [trace for trace in figure.data if trace.mode == "lines" and trace.y[0] is not None]
    assert [list(bar.x) for bar in bars[:4]] == pytest.approx(table[["null_low", "null_high"]].to_numpy(), rel=1e-3)
    assert figure.layout.shapes[0].x0 == pytest.approx(table["lag_score"][0])
    assert f"over {table['pairs'][0]:,} queries" in figure.layout.title.text


def test_agreement_of_a_sorted_or_filtered_table(found):
    table = n2n.head_agreement(found.mixing, found.influence)
    for part in (table.sort_values("score"), table.sort_values("score", ascending=False), table.query("layer == 1")):
        figure = n2n.viz.agreement_by_head(part)
        nulls = part[["null_low", "null_high"]]
        middle = nulls.mean(axis=1)
        bars = [trace for trace in figure.data if trace.mode == "lines" and trace.y[0] is not None]
        names = [f"block {row.layer}, head {row.head}" for row in part.itertuples()]
        assert [bar.y[0] for bar in bars] == names * 2
        drawn = np.array([bar.x for bar in bars])
        assert drawn[: len(part)] == pytest.approx(nulls.to_numpy(), rel=1e-3)
        assert drawn[len(part) :] == pytest.approx(nulls.sub(middle, axis=0).to_numpy(), rel=1e-3)
        scores = [trace for trace in figure.data if trace.name == "score"]
        assert list(scores[1].x) == pytest.approx((part["score"] - middle).tolist(), rel=1e-3)


def arcs(figure, name: str) -> dict[int, object]:
    """By key."""
    found = [trace for trace in figure.data if f"<extra>{name}</extra>" in (trace.hovertemplate or "")]
    return {int(trace.hovertemplate.split("key t = ")[1].split("<")[0]): trace for trace in found}


@pytest.mark.parametrize(("query", "layer", "head"), [(None, None, None), (20, 2, 0), (5, 1, None)])
def test_arcs_are_as_wide_as_what_they_stand_for(found, query, layer, head):
    figure = n2n.viz.unrolled_mixing(found, 1, query, layer, head)
    plain(figure)
    at = LENGTH - 2 if query is None else query
    weights = found.mixing[
        1, slice(None) if layer is None else slice(layer - 1, layer), slice(head, None if head is None else 1)
    ]
    weights = weights[0, 0, at] if layer is not None and head is not None else np.abs(weights).mean((0, 1))[at]
    shown = range(max(0, at + 1 - MAX_STEPS), at + 1)
    which = (
        "mean of blocks" if layer is None else f"block {layer}",
        "mean of heads" if head is None else f"head {head}",
    )
    for values, name in ((weights, ", ".join(which)), (found.influence[1, at], "exact influence")):
        drawn = arcs(figure, name)
        assert list(drawn) == list(shown)
        for s, trace in drawn.items():
            expected = max(0.5, 10 * abs(values[s]) / np.abs(values[: at + 1]).max())
            assert trace.line.width == pytest.approx(expected, abs=0.01)
            assert (trace.line.color == "#D55E00") == (name == "exact influence")
            assert {trace.x[0], trace.x[-1]} == {at, s}
            signs = found.signed and (layer, head) == (2, 0) and name != "exact influence"
            assert (trace.line.color == "#E69F00") == (signs and values[s] >= 0)
    left = np.abs(weights[: shown[0]]).sum() / np.abs(weights[: at + 1]).sum()
    mixed, told = (note.text for note in figure.layout.annotations)
    assert f"full width is {np.abs(weights[: at + 1]).max():.2g} (over all keys)" in mixed
    assert f"full width is {found.influence[1, at].max():.2g} nats (over all keys)" in told
    said = figure.layout.title.subtitle.text
    assert said == "all earlier tokens are shown" if shown[0] == 0 else f"{left:.0%} of the mixing" in said


def test_the_graph_s_edges_are_drawn_in_each_step():
    """Z at t sees Z and X at t - 1; X at t sees Z at t and X at t - 1."""
    found = with_panels(1, 1, length=8)
    figure = n2n.viz.unrolled_mixing(found, query=3)
    x, y = np.array(figure.data[0].x, float).reshape(-1, 3), np.array(figure.data[0].y, float).reshape(-1, 3)
    drawn = {(round(a[0]), int(b[0]), round(a[1]), int(b[1])) for a, b in zip(x, y, strict=True)}
    assert drawn == {(t, 1, t, 0) for t in range(4)} | {
        (t, tail, t + 1, head) for t in range(3) for tail, head in ((1, 1), (0, 1), (0, 0))
    }
    discs = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert list(discs[0].text) == [str(state) for state in found.latents["Z"][0, :4]]
    assert [list(row.text) for row in discs[1:]] == [[str(token) for token in found.tokens[0, :4]]] * 2
    assert list(figure.layout.yaxis.ticktext) == ["X", "Z", "X"]


def test_what_is_not_there_is_refused(found):
    with pytest.raises(ValueError, match="sequence: saw 6; a whole number from 0 to 5"):
        n2n.viz.mixing_maps(found, sequence=6)
    with pytest.raises(ValueError, match="query: saw 32; a whole number from 0 to 31"):
        n2n.viz.unrolled_mixing(found, query=32)
    for layer in (0, 3):  # 0 is the embedding, which mixes nothing
        with pytest.raises(ValueError, match=f"layer: saw {layer}; a whole number from 1 to 2"):
            n2n.viz.unrolled_mixing(found, layer=layer)
    with pytest.raises(ValueError, match="head: saw -1; a whole number from 0 to 1"):
        n2n.viz.unrolled_mixing(found, head=-1)
    with pytest.raises(ValueError, match="saw a model of 5 symbols, a process of 32"):
        measure_mixing(Process(Graph.preset("four_chains")), models.build("transformer", vocab_size=5, dim=16), 2, 8)


def test_figures_from_values_need_no_torch():
    code = "import n2n.viz.mixing, n2n.viz.unrolled_graph, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
