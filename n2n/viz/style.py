"""The look that all figures share, on a light page and on a dark one."""

from __future__ import annotations

from itertools import cycle, islice, pairwise

import numpy as np
import plotly.graph_objects as go

NATS = "nats per token"
EXCESS = f"excess loss, {NATS}"
ENDS = "(%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>"  # of an interval, in a hover

# Okabe and Ito's palette, told apart by the colour-blind (jfly.uni-koeln.de/color, 2008).
MODEL, ORACLE, BASELINE, ACCENT = "#0072B2", "#D55E00", "#7F7F7F", "#009E73"
SKY, PINK, AMBER = "#56B4E9", "#CC79A7", "#E69F00"
COLOURS = (MODEL, ACCENT, PINK, AMBER, SKY)  # of what is compared, in order; the oracle's is nobody else's
DASHES = ("solid", "dash", "dot", "dashdot")  # once the colours are used up
SCALE = "Cividis"  # of magnitudes from 0, made for the colour-blind (Nunez et al., PLoS ONE 13 (2018))
SIGNED = ((0.0, MODEL), (0.5, "#F2F2F2"), (1.0, AMBER))  # of numbers of either sign, 0 in the middle

# Text and lines are seen on white and on JupyterLab's dark #111111 alike: a grey between them, and no paper of its own.
TEXT, CLEAR = "#787878", "rgba(0, 0, 0, 0)"
GRID = "rgba(127, 127, 127, 0.25)"
MAX_CELLS = 64  # of a matrix along each axis; beyond, neighbours are averaged, and the title says so

_AXIS = {"gridcolor": GRID, "linecolor": GRID, "ticks": "outside", "tickcolor": GRID, "zeroline": False}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": TEXT},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": {"l": 70, "r": 30, "t": 60, "b": 60},
        "height": 400,
        "title": {"x": 0.0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
        "legend": {"orientation": "h", "x": 0.0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "colorway": COLOURS,
    }
)


MAX_POINTS = 2000  # points of a curve; a screen has about as many columns


def layer_name(layer: int) -> str:
    """Of the residual stream or a mixer: layer 0 is the embedding, and layer l is block l, or the stream after it."""
    return f"block {layer}" if layer else "embedding"


_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "{": "&#123;", "$": "&#36;"})


def plain(text: object) -> str:
    """A text that plotly shows as it is, for names that people choose.

    plotly takes tags and entities for markup, ``%{x}`` in a hover for a value, and ``$x$`` for mathematics.
    """
    return str(text).translate(_MARKUP)


def figure(title: str, x: str, y: str) -> go.Figure:
    """An empty figure with a title and named axes; all three are shown as they are."""
    named = {"title": {"text": plain(title)}, "xaxis_title": plain(x), "yaxis_title": plain(y)}
    return go.Figure(layout={"template": TEMPLATE, **named})


def lines(count: int) -> list[dict]:
    """A line's colour and dash for each of ``count`` things compared, no two alike up to 20."""
    colours = islice(cycle(COLOURS), count)
    return [{"color": colour, "width": 2, "dash": DASHES[i // len(COLOURS) % 4]} for i, colour in enumerate(colours)]


def faint(colour: str) -> str:
    """A colour, ``#RRGGBB``, as it fills the interval about a line of it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"


def add_band(fig: go.Figure, x, low, high, colour: str, **where) -> None:
    """Fill the interval from ``low`` to ``high`` at each of ``x``; ``where`` is a row and a column of subplots."""
    fig.add_scatter(**around(x, low, high, colour), **where)


def around(x, low, high, colour: str) -> dict:
    """What ``add_band`` adds, as a scatter's arguments."""
    x, low, high = (np.asarray(values) for values in (x, low, high))
    fill = {"fill": "toself", "fillcolor": faint(colour), "line": {"width": 0}, "mode": "lines"}
    outline = {"x": np.concatenate([x, x[::-1]]).tolist(), "y": np.concatenate([high, low[::-1]]).tolist()}
    return {**outline, **fill, "hoverinfo": "skip", "showlegend": False}


def bars(above, below, thickness: float = 1.5) -> dict:
    """A point's interval, as its error bar: how far its ends lie above and below."""
    return {"type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below), "thickness": thickness}


def add_oracle_at_zero(fig: go.Figure, *, vertical: bool = False) -> None:
    """The oracle's line at an excess loss of 0, with its entry in the legend."""
    line = {"color": ORACLE, "width": 2}
    if vertical:
        fig.add_vline(0.0, line=line)
    else:
        fig.add_hline(0.0, line=line)
    fig.add_scatter(x=[None], y=[None], name="oracle", mode="lines", line=line)
    fig.update_layout(showlegend=True)


def log_foot(values) -> float:
    """Where a logarithmic axis draws what is not positive: half the least positive value."""
    values = np.asarray(values, float)
    return float(values[values > 0].min() / 2) if (values > 0).any() else 1.0


def rounded(values, digits: int = 4) -> list[float | None]:
    """Numbers to so many significant digits, None in the place of nan, so that a figure stays small."""
    return [None if np.isnan(value) else float(f"{value:.{digits}g}") for value in np.asarray(values, float).ravel()]


def reduced(matrix: np.ndarray, most: int = MAX_CELLS) -> tuple[np.ndarray, list[np.ndarray], str]:
    """A matrix of at most ``most`` rows and columns, each cell the mean of a block of neighbours, and what was done.

    Returns:
        the matrix, the mean index of each row and of each column, and a clause for the title that tells how many cells
        were averaged, empty if none were.
    """
    matrix, centres, told = np.asarray(matrix, float), [], []
    for axis, what in enumerate(("rows", "columns")):
        size = matrix.shape[axis]
        cuts = np.array_split(np.arange(size), min(size, most))
        centres.append(np.array([cut.mean() for cut in cuts]))
        if size > most:
            matrix = np.stack([matrix.take(cut, axis=axis).mean(axis=axis) for cut in cuts], axis=axis)
            told.append(f"{size} {what} averaged to {most}")
    return matrix, centres, "; ".join(told)


def thinned(*curves: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """Which points to draw of curves that share an axis: in each part of it the least and the largest of each curve.

    Args:
        curves: values at the same points, ``(points,)`` each.
        most: points to draw; where there are no more, all are.

    Returns:
        rising indices: the first point, the last, and the extremes between them.
    """
    points = len(curves[0])
    if points <= most:
        return np.arange(points)
    parts = max(1, (most - 2) // (2 * len(curves)))
    edges = np.linspace(0, points, parts + 1).astype(int)
    found = [0, points - 1]
    for curve in curves:
        for begin, end in pairwise(edges):
            part = curve[begin:end]
            found += [begin + int(np.argmin(part)), begin + int(np.argmax(part))]
    return np.unique(found)
