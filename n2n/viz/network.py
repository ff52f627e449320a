"""The latent graph as a picture."""

from __future__ import annotations

import math

import networkx as nx
import plotly.graph_objects as go

from n2n.graph import Graph, Node
from n2n.viz.style import ACCENT, MODEL, ORACLE, TEMPLATE

COLOURS = {"default": MODEL, "slow": ACCENT, "dead": "#CC79A7"}
EDGE = {"color": "#888888", "width": 1.5}
_LAYER_GAP, _NODE_GAP = 1.5, 1.6  # in the units of the axes
_WIDEST = 8.0  # units that a layer's nodes share
_LAG_SHIFT = 0.12
_PIXELS = 80  # per unit

Point = tuple[float, float]


def draw_graph(graph: Graph) -> go.Figure:
    """The contemporaneous edges, parents above children and X at the foot.

    Discs grow with the number of states; a loop marks a node that sees its own previous state, an arrow in X's colour a
    latent that sees the previous token. Latents are coloured by mode.
    """
    place = _layout(graph)
    radius = {node.name: _radius(node) for node in graph.nodes}
    fig = go.Figure(layout={"template": TEMPLATE, "title": {"text": _title(graph)}})
    for node in graph.nodes:
        if node.sees_itself:
            _add_circle(fig, _beside(place[node.name], radius[node.name]), 0.6 * radius[node.name], line=EDGE)
    for parent, child, lag in graph.networkx().edges(data="lag"):
        tail, head = _aside(place[parent], place[child], _LAG_SHIFT * lag)
        _add_arrow(fig, tail, head, radius[parent], radius[child], dict(EDGE, color=ORACLE) if lag else EDGE)
    named = set()
    for node in graph.order:
        group = "observed" if node.observed else f"latent, {node.mode} mode"
        line = {"color": ORACLE if node.observed else _fill(node), "width": 2}
        legend = {"name": group, "legendgroup": group, "showlegend": group not in named}
        _add_circle(fig, place[node.name], radius[node.name], line=line, fillcolor=_fill(node), **legend)
        named.add(group)
    fig.add_scatter(**_labels(graph, place))
    across, down = zip(*place.values(), strict=True)
    hidden = {"visible": False, "fixedrange": True}
    fig.update_xaxes(range=[min(across) - 0.9, max(across) + 0.9], **hidden)
    fig.update_yaxes(range=[min(down) - 0.6, 0.6], scaleanchor="x", **hidden)
    fig.update_layout(height=int((1.2 - min(down)) * _PIXELS) + 90, margin={"b": 10}, showlegend=True)
    return fig


def _title(graph: Graph) -> str:
    counts = (
        (len(graph.latents), "latent node"),
        (graph.num_joint_states, "joint state"),
        (graph.vocab_size, "symbol"),
    )
    told = ", ".join(f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts)
    return f"{graph.name}: {told}" if graph.name else told


def _radius(node: Node) -> float:
    return 0.24 + 0.035 * math.log2(node.num_states)


def _layout(graph: Graph) -> dict[str, Point]:
    """Layers by longest path from a root, X in the last one; a layer that an edge passes over stands aside."""
    digraph = graph.networkx()
    digraph.remove_node(graph.observed.name)
    layers = [sorted(layer) for layer in nx.topological_generations(digraph)] + [[graph.observed.name]]
    depth = {name: d for d, layer in enumerate(layers) for name in layer}
    spans = [sorted((depth[parent], depth[child])) for parent, child in graph.networkx().edges]
    place = {}
    for d, layer in enumerate(layers):
        aside = 0.5 if any(above < d < below for above, below in spans) else 0.0
        gap = min(_NODE_GAP, _WIDEST / len(layer))
        for i, name in enumerate(layer):
            place[name] = ((i + aside - (len(layer) - 1) / 2) * gap, -d * _LAYER_GAP)
    return place


def _fill(node: Node) -> str:
    return "#F2F2F2" if node.observed else COLOURS[node.mode]


def _labels(graph: Graph, place: dict[str, Point]) -> dict:
    """The trace that carries the texts and the hovers; it has no marks of its own."""
    return {
        "mode": "text",
        "x": [place[node.name][0] for node in graph.order],
        "y": [place[node.name][1] for node in graph.order],
        "text": [f"<b>{node.name}</b><br>{node.num_states}" for node in graph.order],
        "textfont": {"color": ["#333333" if node.observed else "white" for node in graph.order], "size": 12},
        "hovertext": [_hover(node, graph.observed.name) for node in graph.order],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _hover(node: Node, observed: str) -> str:
    seen = [f"{node.name} at t - 1"] if node.sees_itself else []
    seen += [f"{parent} at t{' - 1' if parent == observed else ''}" for parent in node.parents]
    return (
        f"<b>{node.name}</b>: {node.num_states} states<br>sees {', '.join(seen)}<br>"
        f"{node.kernel} kernel, {node.mode} mode, alpha {node.alpha:g}, stickiness {node.stickiness:g}"
    )


def _aside(tail: Point, head: Point, shift: float) -> tuple[Point, Point]:
    """The two ends moved to the right of the way between them, so that edges there and back lie side by side."""
    length = math.dist(tail, head)
    right = ((head[1] - tail[1]) / length * shift, (tail[0] - head[0]) / length * shift)
    return (tail[0] + right[0], tail[1] + right[1]), (head[0] + right[0], head[1] + right[1])


def _add_arrow(fig: go.Figure, tail: Point, head: Point, from_radius: float, to_radius: float, line: dict) -> None:
    length = math.dist(tail, head)
    unit = ((head[0] - tail[0]) / length, (head[1] - tail[1]) / length)
    start = {f"a{axis}": tail[i] + unit[i] * from_radius for i, axis in enumerate("xy")}
    end = {axis: head[i] - unit[i] * (to_radius + 0.03) for i, axis in enumerate("xy")}
    style = {"arrowhead": 2, "arrowwidth": line["width"], "arrowcolor": line["color"], "showarrow": True, "text": ""}
    fig.add_annotation(**start, **end, xref="x", yref="y", axref="x", ayref="y", **style)


def _beside(centre: Point, radius: float) -> Point:
    return centre[0] + 1.1 * radius, centre[1]


def _add_circle(fig: go.Figure, centre: Point, radius: float, **style) -> None:
    (x, y), r = centre, radius
    box = {"x0": x - r, "x1": x + r, "y0": y - r, "y1": y + r}
    fig.add_shape(type="circle", **box, **style, layer="below")
