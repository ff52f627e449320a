"""Figures of kernels as heat maps."""

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
_FEW, _LARGE, _SMALL = 4, 64, 48  # up to 4 panels have up to 64 rows and columns each, more panels have up to 48
_MAX_NAMES = 2  # of parents, which fit next to a panel
_PIXELS = 290  # height of a row of panels
_MAX_LABEL = 5  # characters of a tick label next to a panel; hover text is always complete


def draw_kernels(process: Process, names: Iterable[str] | None = None) -> go.Figure:
    """A heat map for each node: the probability of each new state (column) given the states that it sees (row).

    A row is a joint state of the node's own previous state and its parents, in order; the last one changes fastest. If
    there are more than 64 rows or columns (48 with more than 4 panels), neighbours are averaged and the panel's title
    says so.

    Args:
        process: the process.
        names: names of the nodes (None: all), at most 12.

    Raises:
        ValueError: an unknown node, one whose kernel is redrawn for every sequence, or too many nodes.
    """
    names = list(process.graph.names if names is None else names)
    if not 1 <= len(names) <= MAX_PANELS:
        raise ValueError(f"names: saw {len(names)} nodes; 1 to {MAX_PANELS} are drawn at once, so name some of them")
    tables = {name: process.kernel(name) for name in names}
    max_cells = _LARGE if len(names) <= _FEW else _SMALL
    panels = [_panel(process.graph, process.graph[name], table, max_cells) for name, table in tables.items()]
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    spaces = {"horizontal_spacing": 0.34 / across, "vertical_spacing": 0.36 / down}
    fig = make_subplots(down, across, subplot_titles=[panel.title for panel in panels], **spaces)
    for i, panel in enumerate(panels):
        where = {"row": i // across + 1, "col": i % across + 1}
        fig.add_trace(panel.trace, **where)
        for update, title, labels in ((fig.update_xaxes, panel.x, "x"), (fig.update_yaxes, panel.y, "y")):
            room = max(map(len, panel.trace[labels])) <= _MAX_LABEL
            update(title={"text": title, "standoff": 2}, showticklabels=room, **where)
    fig.update_xaxes(type="category", nticks=8, showgrid=False, tickangle=0)
    fig.update_yaxes(type="category", nticks=8, showgrid=False, autorange="reversed")
    fig.update_annotations(font_size=12)
    bar = {"title": "probability", "thickness": 12}
    fig.update_layout(coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": 1, "colorbar": bar}, template=TEMPLATE)
    title = "Kernels: probability of each new state (column) given the states that the node sees (row)"
    return fig.update_layout(title=title, height=_PIXELS * down + 60, margin={"t": 100})


class _Panel(NamedTuple):
    title: str
    trace: go.Heatmap
    x: str
    y: str


def _panel(graph: Graph, node: Node, table: np.ndarray, max_cells: int) -> _Panel:
    cells, (rows, columns), clause = reduced(table.reshape(-1, node.num_states), max_cells)
    seen, sizes, name = _seen(graph, node), graph.sizes_seen(node), plain(node.name)
    row_labels, column_labels = _labels(sizes, rows), _labels([node.num_states], columns)
    what = "mean probability" if clause else "probability"
    hover = f"{', '.join(seen)}: %{{y}}<br>{name} at t: %{{x}}<br>{what} %{{z:.3f}}<extra></extra>"
    labels = {"x": column_labels, "y": row_labels, "hovertemplate": hover}
    trace = go.Heatmap(z=cells.round(3).tolist(), coloraxis="coloraxis", **labels)
    title = f"<b>{name}</b>" + (f"<br>{clause.replace('; ', '<br>')}" if clause else "")
    y = ", ".join(seen) if len(seen) <= _MAX_NAMES else f"{seen[0]}, .. {seen[-1]} ({len(seen)} nodes)"
    return _Panel(title, trace, f"{name} at t", y)


def _seen(graph: Graph, node: Node) -> list[str]:
    """Names of the nodes that a node sees, in the order of its kernel's axes, for plotly."""
    own = [f"{plain(node.name)} at t - 1"] if node.sees_itself else []
    return own + [f"{plain(name)} at t{' - 1' if name == graph.observed.name else ''}" for name in node.parents]


def _labels(sizes: Sequence[int], centres: np.ndarray) -> list[str]:
    """The joint state of each row, or the first and last of the averaged ones, from the mean index of each row."""
    labels, first = [], 0
    for centre in centres:
        last = round(2 * centre) - first  # blocks are adjacent, and a centre is the mean of its block's ends
        names = [" ".join(str(part) for part in np.unravel_index(row, sizes)) for row in (first, last)]
        labels.append(names[0] if first == last else " to ".join(names))
        first = last + 1
    return labels
