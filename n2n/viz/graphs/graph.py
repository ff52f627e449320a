"""Figure of a latent graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from n2n.graph.by_name import graph_of
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.viz.graphs.graph_layout import Point, layout, radius
from n2n.viz.style import ACCENT, AMBER, CLEAR, MODEL, ORACLE, PINK, SCALE, TEMPLATE, plain

if TYPE_CHECKING:
    import pandas as pd

    from n2n.process.process import Process

_BY_MODE = {"default": MODEL, "slow": ACCENT, "dead": PINK, "context": AMBER}
_PLAIN_LINE = {"color": "#888888", "width": 1.5}
STRENGTHS = sample_colorscale(
    SCALE, [0.4 + 0.055 * i for i in range(11)]
)  # without the ends, which would fade into the page
_THIN, _THICK = 1.0, 6.0  # pixels
_LAG_SHIFT = 0.12
_PIXELS = 80  # per unit

Edge = tuple[str, str, int]  # (parent, child, lag)


def draw_graph(graph: Graph | Process | str, information: pd.DataFrame | None = None) -> go.Figure:
    """Draw nodes and contemporaneous edges, with parents above children and X at the bottom.

    Discs grow with the number of states. A loop marks a node that sees its own previous state; an arrow in X's colour
    marks a latent that sees the previous token. Colours of latents show their modes.

    Args:
        graph: a graph, a process, or the name of a preset.
        information: from ``n2n.edge_information``, a row for each edge and loop. Edges widen and brighten with mutual
            information, and hover text gives it in nats.

    Raises:
        ValueError: no graph, or an edge without its information.
    """
    graph = graph_of(graph)
    place = layout(graph)
    radii = {node.name: radius(node) for node in graph.nodes}
    shared = _shared(graph, information)
    loops, arrows = _lines(place, radii, _styles(shared) if shared else _plain(graph))
    across, down = zip(*place.values(), strict=True)
    hidden = {"visible": False, "fixedrange": True}
    # Adding shapes and arrows one by one would take time quadratic in their number.
    style = {
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
    fig = go.Figure(layout=style).add_scatter(**_labels(graph, place))
    if shared:
        fig.add_scatter(**_edge_hovers(shared, place, radii)).add_scatter(**_scale(max(shared.values())))
    return fig


def _lines(place: dict[str, Point], radii: dict[str, float], styles: dict[Edge, dict]) -> tuple[list[dict], list[dict]]:
    """Circles of the loops and arrows of the other edges."""
    loops, arrows = [], []
    for edge, line in styles.items():
        parent, child, _ = edge
        if parent == child:
            loops.append(_circle(_beside(place[parent], radii[parent]), 0.6 * radii[parent], line=line))
        else:
            arrows.append(_arrow(*_ends(place, edge), radii[parent], radii[child], line))
    return loops, arrows


def _edges(graph: Graph) -> list[Edge]:
    loops = [(node.name, node.name, 1) for node in graph.nodes if node.sees_itself]
    return [*loops, *graph.networkx().edges(data="lag")]


def _shared(graph: Graph, information: pd.DataFrame | None) -> dict[Edge, float]:
    """Mutual information of each edge, nats; empty without ``information``."""
    if information is None:
        return {}
    rows = information[["parent", "child", "lag", "information"]].itertuples(index=False, name=None)
    nats_of = {(parent, child, lag): nats for parent, child, lag, nats in rows}
    for edge in _edges(graph):
        if edge not in nats_of:
            raise ValueError(f"information: saw no row for {_name(edge)}; every edge and loop of the graph needs one")
    return {edge: nats_of[edge] for edge in _edges(graph)}


def _plain(graph: Graph) -> dict[Edge, dict]:
    feedback = dict(_PLAIN_LINE, color=ORACLE)
    return {edge: feedback if edge[2] and edge[0] != edge[1] else _PLAIN_LINE for edge in _edges(graph)}


def _styles(shared: dict[Edge, float]) -> dict[Edge, dict]:
    """Lines whose widths and colours grow linearly with mutual information, from a thin line at 0."""
    largest = max(shared.values()) or 1.0
    parts = {edge: nats / largest for edge, nats in shared.items()}
    colours = dict(zip(parts, sample_colorscale(STRENGTHS, list(parts.values())), strict=True))
    return {edge: {"color": colours[edge], "width": _THIN + (_THICK - _THIN) * part} for edge, part in parts.items()}


def _edge_hovers(shared: dict[Edge, float], place: dict[str, Point], radii: dict[str, float]) -> dict:
    """A trace of invisible marks in the middle of each edge, which carry its hover text."""
    middles = [_middle(edge, place, radii) for edge in shared]
    return {
        "mode": "markers",
        "x": [x for x, _ in middles],
        "y": [y for _, y in middles],
        "marker": {"size": 18, "color": CLEAR},
        "hovertext": [f"{plain(_name(edge))}: {nats:.3g} nats" for edge, nats in shared.items()],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _scale(largest: float) -> dict:
    """An empty trace that carries the colour bar."""
    bar = {"title": {"text": "mutual information, nats", "side": "right", "font": {"size": 13}}, "thickness": 12}
    shades = {"colorscale": STRENGTHS, "cmin": 0, "cmax": largest or 1.0, "color": [0.0], "colorbar": bar}
    return {"mode": "markers", "x": [None], "y": [None], "marker": {"showscale": True, **shades}, "showlegend": False}


def _name(edge: Edge) -> str:
    parent, child, lag = edge
    return f"{parent} at t{' - 1' if lag else ''} → {child} at t"


def _middle(edge: Edge, place: dict[str, Point], radii: dict[str, float]) -> Point:
    parent, child, _ = edge
    if parent == child:
        x, y = _beside(place[parent], radii[parent])
        return x + 0.6 * radii[parent], y
    (x, y), (other_x, other_y) = _ends(place, edge)
    return (x + other_x) / 2, (y + other_y) / 2


def _ends(place: dict[str, Point], edge: Edge) -> tuple[Point, Point]:
    parent, child, lag = edge
    return _aside(place[parent], place[child], _LAG_SHIFT * lag)


def _discs(graph: Graph, place: dict[str, Point], radii: dict[str, float]) -> list[dict]:
    discs, groups = [], set()
    for node in graph.order:
        group = "observed" if node.observed else f"latent, {node.mode} mode"
        line = {"color": ORACLE if node.observed else _fill(node), "width": 2}
        legend = {"name": group, "legendgroup": group, "showlegend": group not in groups}
        discs.append(_circle(place[node.name], radii[node.name], line=line, fillcolor=_fill(node), **legend))
        groups.add(group)
    return discs


def _title(graph: Graph) -> str:
    counts = (
        (len(graph.latents), "latent node"),
        (graph.num_joint_states, "joint state"),
        (graph.vocab_size, "symbol"),
        *([] if graph.pool is None else [(graph.pool, "kernel set")]),
    )
    text = ", ".join(f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts)
    return f"{plain(graph.name)}: {text}" if graph.name else text


def _fill(node: Node) -> str:
    return "#F2F2F2" if node.observed else _BY_MODE[node.mode]


def _labels(graph: Graph, place: dict[str, Point]) -> dict:
    """A trace without marks that carries the nodes' labels and hover text."""
    return {
        "mode": "text",
        "x": [place[node.name][0] for node in graph.order],
        "y": [place[node.name][1] for node in graph.order],
        "text": [f"<b>{plain(node.name)}</b><br>{node.num_states}" for node in graph.order],
        "textfont": {"color": ["#333333" if node.observed else "white" for node in graph.order], "size": 12},
        "hovertext": [_hover(node, graph.observed.name) for node in graph.order],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _hover(node: Node, observed: str) -> str:
    inputs = [f"{plain(node.name)} at t - 1"] if node.sees_itself else []
    inputs += [f"{plain(parent)} at t{' - 1' if parent == observed else ''}" for parent in node.parents]
    if node.frozen:
        return f"<b>{plain(node.name)}</b>: {node.num_states} states<br>frozen: keeps its state at t = 0"
    return (
        f"<b>{plain(node.name)}</b>: {node.num_states} states<br>sees {', '.join(inputs)}<br>"
        f"{node.kernel} kernel, {node.mode} mode, alpha {node.alpha:g}, stickiness {node.stickiness:g}"
    )


def _aside(tail: Point, head: Point, shift: float) -> tuple[Point, Point]:
    """Both ends of an edge, moved to the right of its direction, so that opposite edges lie side by side."""
    length = math.dist(tail, head)
    right = ((head[1] - tail[1]) / length * shift, (tail[0] - head[0]) / length * shift)
    return (tail[0] + right[0], tail[1] + right[1]), (head[0] + right[0], head[1] + right[1])


def _arrow(tail: Point, head: Point, from_radius: float, to_radius: float, line: dict) -> dict:
    length = math.dist(tail, head)
    unit = ((head[0] - tail[0]) / length, (head[1] - tail[1]) / length)
    start = {f"a{axis}": tail[i] + unit[i] * from_radius for i, axis in enumerate("xy")}
    end = {axis: head[i] - unit[i] * (to_radius + 0.03) for i, axis in enumerate("xy")}
    style = {"arrowhead": 2, "arrowwidth": line["width"], "arrowcolor": line["color"], "showarrow": True, "text": ""}
    style["arrowsize"] = min(1.0, max(0.6, 2 / line["width"]))  # heads grow with the line, but less
    return {**start, **end, "xref": "x", "yref": "y", "axref": "x", "ayref": "y", **style}


def _beside(centre: Point, r: float) -> Point:
    return centre[0] + 1.1 * r, centre[1]


def _circle(centre: Point, r: float, **style) -> dict:
    x, y = centre
    box = {"x0": x - r, "x1": x + r, "y0": y - r, "y1": y + r}
    return {"type": "circle", **box, **style, "layer": "below"}
