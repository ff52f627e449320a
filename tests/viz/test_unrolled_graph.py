"""The unrolled graph: arcs as wide as the mixing and the exact influence."""

import numpy as np
import pytest
from support.figures import assert_small, random_mixing

import n2n
from n2n.viz.graphs.unrolled_graph import MAX_STEPS


def arcs(figure, name: str) -> dict[int, object]:
    """The arcs of this kind, by their keys."""
    arcs = [trace for trace in figure.data if f"<extra>{name}</extra>" in (trace.hovertemplate or "")]
    return {int(trace.hovertemplate.split("key t = ")[1].split("<")[0]): trace for trace in arcs}


@pytest.mark.parametrize(("query", "layer", "head"), [(None, None, None), (20, 2, 0), (5, 1, None)])
def test_widths_of_arcs_are_proportional_to_mixing_and_influence(result, query, layer, head):
    figure = n2n.viz.unrolled_mixing(result, 1, query, layer, head)
    assert_small(figure)
    at = result.mixing.shape[-1] - 1 if query is None else query
    weights = result.mixing[
        1, slice(None) if layer is None else slice(layer - 1, layer), slice(head, None if head is None else 1)
    ]
    weights = weights[0, 0, at] if layer is not None and head is not None else np.abs(weights).mean((0, 1))[at]
    keys = range(max(0, at + 1 - MAX_STEPS), at + 1)
    names = (
        "mean of blocks" if layer is None else f"block {layer}",
        "mean of heads" if head is None else f"head {head}",
    )
    for values, name in ((weights, ", ".join(names)), (result.influence[1, at], "exact influence")):
        arc_of = arcs(figure, name)
        assert list(arc_of) == list(keys)
        for s, trace in arc_of.items():
            expected = max(0.5, 10 * abs(values[s]) / np.abs(values[: at + 1]).max())
            assert trace.line.width == pytest.approx(expected, abs=0.01)
            assert (trace.line.color == "#D55E00") == (name == "exact influence")
            assert {trace.x[0], trace.x[-1]} == {at, s}
            signs = result.signed and (layer, head) == (2, 0) and name != "exact influence"
            assert (trace.line.color == "#E69F00") == (signs and values[s] >= 0)
    left = np.abs(weights[: keys[0]]).sum() / np.abs(weights[: at + 1]).sum()
    mixing, influence = (note.text for note in figure.layout.annotations)
    assert f"full width is {np.abs(weights[: at + 1]).max():.2g} (over all keys)" in mixing
    assert f"full width is {result.influence[1, at].max():.2g} nats (over all keys)" in influence
    subtitle = figure.layout.title.subtitle.text
    assert subtitle == "all earlier tokens are shown" if keys[0] == 0 else f"{left:.0%} of the mixing" in subtitle


def test_the_graph_s_edges_are_drawn_in_each_step():
    """Z at t depends on Z and X at t - 1; X at t depends on Z at t and X at t - 1."""
    result = random_mixing(1, 1, length=8)
    figure = n2n.viz.unrolled_mixing(result, query=3)
    x, y = np.array(figure.data[0].x, float).reshape(-1, 3), np.array(figure.data[0].y, float).reshape(-1, 3)
    edges = {(round(a[0]), int(b[0]), round(a[1]), int(b[1])) for a, b in zip(x, y, strict=True)}
    assert edges == {(t, 1, t, 0) for t in range(4)} | {
        (t, tail, t + 1, head) for t in range(3) for tail, head in ((1, 1), (0, 1), (0, 0))
    }
    discs = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert list(discs[0].text) == [str(state) for state in result.latents["Z"][0, :4]]
    assert [list(row.text) for row in discs[1:]] == [[str(token) for token in result.tokens[0, :4]]] * 2
    assert list(figure.layout.yaxis.ticktext) == ["X", "Z", "X"]
