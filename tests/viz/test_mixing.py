"""Figures of token mixing hold the weights of each head and the exact influence."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from support.figures import assert_small, random_mixing

import n2n
from n2n import models
from n2n.analysis.mixing import measure_mixing
from n2n.graph.graph import Graph
from n2n.process.process import Process
from n2n.viz.mixing import MAX_QUERIES


def test_maps_show_each_head_and_the_shares_of_the_influence(result):
    figure = n2n.viz.mixing_maps(result, sequence=2, query=30)
    assert_small(figure)
    first = 31 - MAX_QUERIES
    exact, *heads = figure.data
    assert [trace.hovertemplate.split("<extra>")[1] for trace in heads] == [
        f"block {layer + 1}, head {head}</extra>" for layer, head in product(range(2), repeat=2)
    ]
    for trace, (layer, head) in zip(heads, product(range(2), repeat=2), strict=True):
        for q, s in ((0, 0), (7, 3), (23, 23)):
            expected = result.mixing[2, layer, head, first + q, first + s]
            assert trace.z[q][s] == pytest.approx(expected, rel=1e-5)
        assert np.isnan(trace.z[3][4])
        assert trace.coloraxis == "coloraxis2"
    influence = result.influence[2, first + 9]
    assert exact.z[9][5] == pytest.approx(influence[first + 5] / influence.sum(), rel=1e-5)
    assert exact.customdata[9][5] == pytest.approx(influence[first + 5], rel=1e-5)
    states = ", ".join(f"{name} {path[2, first + 4]}" for name, path in result.latents.items())
    assert exact.x[4] == exact.y[4] == f"t = {first + 4}: token {result.tokens[2, first + 4]} ({states})"
    assert f"tokens {first} to 30" in figure.layout.title.text


def test_signed_weights_have_colours_on_both_sides_of_zero(result):
    axis = n2n.viz.mixing_maps(result).layout.coloraxis2
    assert result.signed == (axis.cmin < 0)
    assert axis.cmin in (0, -axis.cmax)
    assert (axis.colorscale[0][1] == "#0072B2") == result.signed


@pytest.mark.parametrize(("layers", "heads", "layer"), [(1, 1, None), (6, 8, None), (12, 12, 7)])
def test_every_head_has_a_panel(layers, heads, layer):
    result = random_mixing(layers, heads)
    figure = n2n.viz.mixing_maps(result, layer=layer)
    assert_small(figure)
    chosen = range(1, layers + 1) if layer is None else [layer]
    names = [f"block {layer}, head {head}" for layer, head in product(chosen, range(heads))]
    assert [note.text for note in figure.layout.annotations if note.text.startswith("block")] == names
    assert [trace.hovertemplate.split("<extra>")[1][:-8] for trace in figure.data[1:]] == names
    assert len({(trace.xaxis, trace.yaxis) for trace in figure.data}) == 1 + len(names)
    assert figure.data[-1].z[-1][0] == pytest.approx(
        result.mixing[0, chosen[-1] - 1, -1, -1, -len(figure.data[-1].z)], rel=1e-5
    )


def test_shares_by_lag_have_bands_and_the_oracle_s_line(result):
    mixing, influence = n2n.mixing_by_lag(result.mixing), n2n.influence_by_lag(result.influence)
    figure = n2n.viz.shares_by_lag(mixing, influence)
    assert_small(figure)
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
    assert all(min(band.y) > 0 for band in bands)  # as a logarithmic axis needs


def test_agreement_shows_scores_and_null_intervals(result):
    table = n2n.head_agreement(result.mixing, result.influence)
    figure = n2n.viz.agreement_by_head(table)
    assert_small(figure)
    scores, differences = (trace for trace in figure.data if trace.name == "score")
    middle = (table["null_low"] + table["null_high"]) / 2
    assert list(scores.x) == pytest.approx(table["score"], rel=1e-3)
    assert list(differences.x) == pytest.approx(table["score"] - middle, rel=1e-3)
    bars = [trace for trace in figure.data if trace.mode == "lines" and trace.y[0] is not None]
    assert [list(bar.x) for bar in bars[:4]] == pytest.approx(table[["null_low", "null_high"]].to_numpy(), rel=1e-3)
    assert figure.layout.shapes[0].x0 == pytest.approx(table["lag_score"][0])
    assert f"over {table['pairs'][0]:,} queries" in figure.layout.title.text


def test_agreement_of_sorted_and_filtered_tables(result):
    table = n2n.head_agreement(result.mixing, result.influence)
    for part in (table.sort_values("score"), table.sort_values("score", ascending=False), table.query("layer == 1")):
        figure = n2n.viz.agreement_by_head(part)
        nulls = part[["null_low", "null_high"]]
        middle = nulls.mean(axis=1)
        bars = [trace for trace in figure.data if trace.mode == "lines" and trace.y[0] is not None]
        names = [f"block {row.layer}, head {row.head}" for row in part.itertuples()]
        assert [bar.y[0] for bar in bars] == names * 2
        ends = np.array([bar.x for bar in bars])
        assert ends[: len(part)] == pytest.approx(nulls.to_numpy(), rel=1e-3)
        assert ends[len(part) :] == pytest.approx(nulls.sub(middle, axis=0).to_numpy(), rel=1e-3)
        scores = [trace for trace in figure.data if trace.name == "score"]
        assert list(scores[1].x) == pytest.approx((part["score"] - middle).tolist(), rel=1e-3)


def test_indices_out_of_range_are_refused(result):
    with pytest.raises(ValueError, match="sequence: saw 6; a whole number from 0 to 5"):
        n2n.viz.mixing_maps(result, sequence=6)
    with pytest.raises(ValueError, match="query: saw 32; a whole number from 0 to 31"):
        n2n.viz.unrolled_mixing(result, query=32)
    for layer in (0, 3):  # 0 is the embedding, which does not mix tokens
        with pytest.raises(ValueError, match=f"layer: saw {layer}; a whole number from 1 to 2"):
            n2n.viz.unrolled_mixing(result, layer=layer)
    with pytest.raises(ValueError, match="head: saw -1; a whole number from 0 to 1"):
        n2n.viz.unrolled_mixing(result, head=-1)
    with pytest.raises(ValueError, match="saw a model of 5 symbols, a process of 32"):
        measure_mixing(Process(Graph.preset("four_chains")), models.build("transformer", vocab_size=5, dim=16), 2, 8)


def test_figures_from_values_need_no_torch():
    code = "import n2n.viz.mixing, n2n.viz.graphs.unrolled_graph, sys; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "False\n"
