"""Figure of a latent graph unrolled in time, with mixing and exact influence as arcs to earlier tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from n2n.graph.graph import Graph
from n2n.viz.graphs.graph_layout import layout
from n2n.viz.style import AMBER, MODEL, ORACLE, TEMPLATE, plain

if TYPE_CHECKING:
    from n2n.analysis.mixing import MixingResult

MAX_STEPS = 16
_FAINT = "rgba(127, 127, 127, 0.45)"
_WIDEST = 10.0  # pixels of the largest arc
_THINNEST = 0.5
_ASIDE = 0.3  # of a time step, between nodes of one layer, which keeps edges within a step visible
_DEPTH = 2.2  # depth of the longest arc, in rows
_GAP = 1.5  # rows between the arcs of mixing and the tokens above the arcs of influence
_LOWER = -(_DEPTH + _GAP)  # row of the tokens above the arcs of influence
_ROW = 46  # pixels of a row
_DISC = {"symbol": "circle", "size": 19, "color": "#F2F2F2", "line": {"color": "#888888", "width": 1}}


def unrolled_mixing(
    result: MixingResult, sequence: int = 0, query: int | None = None, layer: int | None = None, head: int | None = None
) -> go.Figure:
    """The graph over the last 16 time steps, with arcs from a query to its keys: mixing above, exact influence below.

    Time runs to the right. Discs show true states, and tokens in the lowest row; faint lines are the graph's edges. The
    width of an arc is proportional to its weight, relative to the largest over all keys; the stub is the query's own
    token. The subtitle gives the shares of keys before the first step. If mixing has signs, amber adds and blue
    subtracts.

    Args:
        result: from ``n2n.mixing.measure_mixing``.
        sequence: index of the sequence, from 0.
        query: position from which the next token is predicted (None: the last one).
        layer: block of the mixing, from 1 (None: the mean of absolute weights over blocks).
        head: head of the mixing, from 0 (None: the mean of absolute weights over heads).

    Raises:
        ValueError: no such sequence, query, layer or head.
    """
    sequence, query = result.place(sequence, query)
    weights = result.weights(sequence, layer, head)[query, : query + 1]
    signed = result.signed and layer is not None and head is not None
    influence = result.influence[sequence, query, : query + 1]
    first = max(0, query + 1 - MAX_STEPS)
    heads = f"{_which('block', layer)}, {_which('head', head)}"
    signs = " (amber adds, blue subtracts)" if signed else ""
    fig = go.Figure(layout={"template": TEMPLATE, **_frame(result.graph, first, query)})
    fig.add_scatter(**_edges(result.graph, np.arange(first, query + 1)))
    _add_arcs(fig, weights, first, 0.0, heads, "weight", (AMBER, MODEL) if signed else (MODEL, MODEL))
    _add_arcs(fig, influence, first, _LOWER, "exact influence", "nats", (ORACLE, ORACLE))
    for row in _rows(result, sequence, first, weights, influence):
        fig.add_scatter(**row)
    above = f"mixing: {heads}{signs}; full width is {_largest(weights)} (over all keys)"
    under = f"exact influence; full width is {_largest(influence)} nats (over all keys)"
    following = result.tokens[sequence, query + 1]
    title = f"Sequence {sequence}, query t = {query}: mixing and influence for the next token, {following}"
    heading = {"text": title, "subtitle": {"text": _left_out(weights, influence, first)}}
    return fig.update_layout(title=heading, annotations=[_caption(first, 0.0, above), _caption(first, _LOWER, under)])


def _largest(values: np.ndarray) -> str:
    return f"{np.abs(values).max():.2g}"


def _left_out(weights: np.ndarray, influence: np.ndarray, first: int) -> str:
    mixing_share, influence_share = (_before(values, first) for values in (weights, influence))
    if not first:
        return "all earlier tokens are shown"
    return (
        f"{mixing_share:.0%} of the mixing and {influence_share:.0%} of the influence lie on tokens before t = {first}"
    )


def _frame(graph: Graph, first: int, query: int) -> dict:
    """Axes with time at the bottom and the nodes' names next to their rows; X has two rows."""
    labels = {float(i): name for i, name in enumerate(graph.names[::-1])} | {_LOWER: graph.observed.name}
    return {
        "height": int(_ROW * (len(labels) + 2 * _DEPTH + _GAP) + 110),
        "margin": {"t": 80, "b": 50},
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": {"title": "time t", "range": [first - 0.7, query + 0.9], "dtick": 1, "showgrid": False},
        "yaxis": {
            "range": [_LOWER - _DEPTH - 1.0, len(labels) - 1.4],
            "tickvals": list(labels),
            "ticktext": [plain(name) for name in labels.values()],
            "showgrid": False,
        },
    }


def _which(what: str, index: int | None) -> str:
    return f"mean of {what}s" if index is None else f"{what} {index}"


def _before(values: np.ndarray, first: int) -> float:
    total = np.abs(values).sum()
    return float(np.abs(values[:first]).sum() / total) if total else 0.0


def _places(graph: Graph) -> dict[str, tuple[float, int]]:
    """Each node's distance from its time step and its row. No two nodes share a row, so no edge covers a node."""
    across = {name: place[0] for name, place in layout(graph).items()}
    middle, half = (max(across.values()) + min(across.values())) / 2, (max(across.values()) - min(across.values())) / 2
    rows = dict(zip(graph.names[::-1], range(len(across)), strict=True))
    return {
        name: (_ASIDE * (x - middle) / half if half and rows[name] else 0.0, rows[name]) for name, x in across.items()
    }


def _edges(graph: Graph, times: np.ndarray) -> dict:
    """All edges of these time steps, as one line with gaps."""
    place = _places(graph)
    x, y = [], []
    for t in times.tolist():
        for parent, child, lag in graph.edges_with_lag:
            if t - lag >= times[0]:
                x += [round(t - lag + place[parent][0], 2), round(t + place[child][0], 2), None]
                y += [place[parent][1], place[child][1], None]
    return {"x": x, "y": y, "mode": "lines", "line": {"color": _FAINT, "width": 1.2}, "hoverinfo": "skip"}


def _add_arcs(
    fig: go.Figure, values: np.ndarray, first: int, height: float, name: str, unit: str, colours: tuple[str, str]
) -> None:
    """Add an arc from the query, which is the last key, to each key from ``first``; one colour per sign."""
    query, largest = len(values) - 1, np.abs(values).max() or 1.0
    turn = np.linspace(0, np.pi, 15)
    for s in range(first, query + 1):
        share = abs(values[s]) / largest
        if s == query:
            x, y = np.full(2, query), np.array([height - 0.3, height - 0.75])
        else:
            depth = _DEPTH * ((query - s) / MAX_STEPS) ** 0.7
            x, y = (query + s) / 2 + (query - s) / 2 * np.cos(turn), height - 0.4 - depth * np.sin(turn)
        fig.add_scatter(
            x=np.asarray(x, np.float32),  # plotly stores small types compactly
            y=np.asarray(y, np.float32),
            mode="lines",
            opacity=float(round(0.3 + 0.6 * share, 2)),
            line={
                "color": colours[int(values[s] < 0)],
                "width": round(float(max(_THINNEST, _WIDEST * share)), 2),
                "shape": "spline",
            },
            hovertemplate=f"query t = {query}, key t = {s}<br>{values[s]:.3g} {unit}<extra>{name}</extra>",
        )


def _rows(result: MixingResult, sequence: int, first: int, weights: np.ndarray, influence: np.ndarray) -> list[dict]:
    """Discs: a row for each node, and a second row of tokens above the arcs of influence."""
    place, x, times = _places(result.graph), result.graph.observed.name, np.arange(first, len(weights))
    paths = {name: path[sequence, times] for name, path in result.latents.items()}
    rows = []
    for name, path in paths.items():
        aside, height = place[name]
        rows.append(
            _discs(times + aside, height, path, f"{plain(name)} at t = %{{customdata}}")
            | {"customdata": times.tolist()}
        )
    tokens = result.tokens[sequence, times]
    for height, values, unit in (
        (0.0, weights, "mixing weight %{customdata}"),
        (_LOWER, influence, "%{customdata} nats"),
    ):
        texts = [f"{value:.3g}" for value in values[times]]
        rows.append(_discs(times, height, tokens, f"{plain(x)} at t = %{{x}}", f"<br>{unit}") | {"customdata": texts})
    return rows


def _discs(x: np.ndarray, height: float, states: np.ndarray, what: str, more: str = "") -> dict:
    return {
        "x": np.round(x, 2).tolist(),
        "y": [height] * len(x),
        "mode": "markers+text",
        "marker": _DISC,
        "text": [str(state) for state in states],
        "textfont": {"size": 10, "color": "#333333"},
        "hovertemplate": f"{what}: %{{text}}{more}<extra></extra>",
    }


def _caption(first: int, height: float, text: str) -> dict:
    return {
        "x": first - 0.6, "y": height - _DEPTH - 0.65, "text": text, "showarrow": False, "xanchor": "left",
        "font": {"size": 13},
    }  # fmt: skip
