"""The latent graph as a picture."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from n2n.graph import Graph, Node
from n2n.viz.layout import Point, layout, radius
from n2n.viz.style import ACCENT, MODEL, ORACLE, TEMPLATE

COLOURS = {"default": MODEL, "slow": ACCENT, "dead": "#CC79A7", "context": "#E69F00"}
EDGE = {"color": "#888888", "width": 1.5}
_LAG_SHIFT = 0.12
_PIXELS = 80  # per unit


def draw_graph(graph: Graph) -> go.Figure:
    """The contemporaneous edges, parents above children and X at the foot.

    Discs grow with the number of states; a loop marks a node that sees its own previous state, an arrow in X's colour a
    latent that sees the previous token. Latents are coloured by mode.
    """
    place = layout(graph)
    radii = {node.name: radius(node) for node in graph.nodes}
    loops = [
        _circle(_beside(place[node.name], radii[node.name]), 0.6 * radii[node.name], line=EDGE)
        for node in graph.nodes
        if node.sees_itself
    ]
    arrows = []
    for parent, child, lag in graph.networkx().edges(data="lag"):
        tail, head = _aside(place[parent], place[child], _LAG_SHIFT * lag)
        arrows.append(_arrow(tail, head, radii[parent], radii[child], dict(EDGE, color=ORACLE) if lag else EDGE))
    across, down = zip(*place.values(), strict=True)
    hidden = {"visible": False, "fixedrange": True}
    # Shapes and arrows are given all at once: adding them one by one takes time in the square of their number.
    look = {
        "template": TEMPLATE,
        "title": {"text": _title(graph)},
        "shapes": [*loops, *_discs(graph, place, radii)],
        "annotations": arrows,
        "xaxis": {"range": [min(across) - 0.9, max(across) + 0.9], **hidden},
        "yaxis": {"range": [min(down) - 0.6, 0.6], "scaleanchor": "x", **hidden},
        "height": int((1.2 - min(down)) * _PIXELS) + 90,
        "margin": {"b": 10},
        "showlegend": True,
    }
    return go.Figure(layout=look).add_scatter(**_labels(graph, place))


def _discs(graph: Graph, place: dict[str, Point], radii: dict[str, float]) -> list[dict]:
    discs, named = [], set()
    for node in graph.order:
        group = "observed" if node.observed else f"latent, {node.mode} mode"
        line = {"color": ORACLE if node.observed else _fill(node), "width": 2}
        legend = {"name": group, "legendgroup": group, "showlegend": group not in named}
        discs.append(_circle(place[node.name], radii[node.name], line=line, fillcolor=_fill(node), **legend))
        named.add(group)
    return discs


def _title(graph: Graph) -> str:
    counts = (
        (len(graph.latents), "latent node"),
        (graph.num_joint_states, "joint state"),
        (graph.vocab_size, "symbol"),
    )
    told = ", ".join(f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts)
    return f"{graph.name}: {told}" if graph.name else told


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


def _arrow(tail: Point, head: Point, from_radius: float, to_radius: float, line: dict) -> dict:
    length = math.dist(tail, head)
    unit = ((head[0] - tail[0]) / length, (head[1] - tail[1]) / length)
    start = {f"a{axis}": tail[i] + unit[i] * from_radius for i, axis in enumerate("xy")}
    end = {axis: head[i] - unit[i] * (to_radius + 0.03) for i, axis in enumerate("xy")}
    style = {"arrowhead": 2, "arrowwidth": line["width"], "arrowcolor": line["color"], "showarrow": True, "text": ""}
    return {**start, **end, "xref": "x", "yref": "y", "axref": "x", "ayref": "y", **style}


def _beside(centre: Point, r: float) -> Point:
    return centre[0] + 1.1 * r, centre[1]


def _circle(centre: Point, r: float, **style) -> dict:
    x, y = centre
    box = {"x0": x - r, "x1": x + r, "y0": y - r, "y1": y + r}
    return {"type": "circle", **box, **style, "layer": "below"}
