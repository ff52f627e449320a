"""Kernels as heat maps: what each node does, given what it sees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.viz.style import SCALE, TEMPLATE, plain, reduced

if TYPE_CHECKING:
    from n2n.process.process import Process

MAX_PANELS = 12
_ACROSS = 3  # panels side by side
_FEW, _LARGE, _SMALL = 4, 64, 48  # up to so many panels have so many rows and columns at most, more panels have fewer
_FEW_SEEN = 2  # nodes whose names fit beside a panel
_PIXELS = 290  # a row of panels
_LONGEST = 5  # characters of a label that has room beside a panel; hovers say all


def draw_kernels(process: Process, names: Iterable[str] | None = None) -> go.Figure:
    """A heat map for each node: the probability of each new state (column) given the states seen (row).

    A row is a joint state of what the node sees: its own previous state first, then its parents in order, the last one
    changing fastest. Rows and columns beyond 64 (48 where there are more than 4 panels) are averaged, as the panel's
    title then says.

    Args:
        process: whose kernels these are.
        names: of the nodes (None: all), at most 12.

    Raises:
        ValueError: an unknown node, one whose kernel is redrawn for every sequence, or too many nodes.
    """
    names = list(process.graph.names if names is None else names)
    if not 1 <= len(names) <= MAX_PANELS:
        raise ValueError(f"names: saw {len(names)} nodes; 1 to {MAX_PANELS} are drawn at once, so name some of them")
    tables = {name: process.kernel(name) for name in names}
    most = _LARGE if len(names) <= _FEW else _SMALL
    panels = [_panel(process.graph, process.graph[name], table, most) for name, table in tables.items()]
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    spaces = {"horizontal_spacing": 0.34 / across, "vertical_spacing": 0.36 / down}
    fig = make_subplots(down, across, subplot_titles=[panel.title for panel in panels], **spaces)
    for i, panel in enumerate(panels):
        where = {"row": i // across + 1, "col": i % across + 1}
        fig.add_trace(panel.trace, **where)
        for update, title, labels in ((fig.update_xaxes, panel.x, "x"), (fig.update_yaxes, panel.y, "y")):
            room = max(map(len, panel.trace[labels])) <= _LONGEST
            update(title={"text": title, "standoff": 2}, showticklabels=room, **where)
    fig.update_xaxes(type="category", nticks=8, showgrid=False, tickangle=0)
    fig.update_yaxes(type="category", nticks=8, showgrid=False, autorange="reversed")
    fig.update_annotations(font_size=12)
    bar = {"title": "probability", "thickness": 12}
    fig.update_layout(coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": 1, "colorbar": bar}, template=TEMPLATE)
    title = "Kernels: probability of each new state (column) given the states seen (row)"
    return fig.update_layout(title=title, height=_PIXELS * down + 60, margin={"t": 100})


class _Panel(NamedTuple):
    title: str
    trace: go.Heatmap
    x: str
    y: str


def _panel(graph: Graph, node: Node, table: np.ndarray, most: int) -> _Panel:
    cells, (rows, columns), told = reduced(table.reshape(-1, node.num_states), most)
    seen, sizes, name = _seen(graph, node), graph.sizes_seen(node), plain(node.name)
    row_labels, column_labels = _labels(sizes, rows), _labels([node.num_states], columns)
    what = "mean probability" if told else "probability"
    hover = f"{', '.join(seen)}: %{{y}}<br>{name} at t: %{{x}}<br>{what} %{{z:.3f}}<extra></extra>"
    labels = {"x": column_labels, "y": row_labels, "hovertemplate": hover}
    trace = go.Heatmap(z=cells.round(3).tolist(), coloraxis="coloraxis", **labels)
    title = f"<b>{name}</b>" + (f"<br>{told.replace('; ', '<br>')}" if told else "")
    y = ", ".join(seen) if len(seen) <= _FEW_SEEN else f"{seen[0]}, .. {seen[-1]} ({len(seen)} nodes)"
    return _Panel(title, trace, f"{name} at t", y)


def _seen(graph: Graph, node: Node) -> list[str]:
    """What a node sees, in the order of its kernel's axes, for plotly."""
    own = [f"{plain(node.name)} at t - 1"] if node.sees_itself else []
    return own + [f"{plain(name)} at t{' - 1' if name == graph.observed.name else ''}" for name in node.parents]


def _labels(sizes: Sequence[int], centres: np.ndarray) -> list[str]:
    """The joint state of each row, or the first and the last of those averaged, from the mean index of each."""
    labels, first = [], 0
    for centre in centres:
        last = round(2 * centre) - first  # blocks follow one another, and a centre is the mean of its two ends
        names = [" ".join(str(part) for part in np.unravel_index(row, sizes)) for row in (first, last)]
        labels.append(names[0] if first == last else " to ".join(names))
        first = last + 1
    return labels
