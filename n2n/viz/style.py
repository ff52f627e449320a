"""The style that all figures share, for light and dark pages."""

from __future__ import annotations

from itertools import cycle, islice, pairwise

import numpy as np
import plotly.graph_objects as go

NATS = "nats per token"
EXCESS = f"excess loss, {NATS}"

# Okabe and Ito's palette, which colour-blind readers can distinguish (jfly.uni-koeln.de/color, 2008).
MODEL, ORACLE, BASELINE, ACCENT = "#0072B2", "#D55E00", "#7F7F7F", "#009E73"
SKY, PINK, AMBER = "#56B4E9", "#CC79A7", "#E69F00"
COLOURS = (MODEL, ACCENT, PINK, AMBER, SKY)  # of compared lines, in order; only the oracle has ORACLE
DASHES = ("solid", "dash", "dot", "dashdot")  # for lines beyond the number of colours
SCALE = "Cividis"  # for numbers from 0, safe for colour-blind readers (Nunez et al., PLoS ONE 13 (2018))
SIGNED = ((0.0, MODEL), (0.5, "#F2F2F2"), (1.0, AMBER))  # for numbers of either sign, with 0 in the middle

# Text and lines are legible on white and on JupyterLab's dark #111111: a grey between them, on a clear background.
TEXT, CLEAR = "#787878", "rgba(0, 0, 0, 0)"
GRID = "rgba(127, 127, 127, 0.25)"
MAX_CELLS = 64  # of a matrix along each axis; beyond this neighbours are averaged, and the title says so

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


def ends(precision: str = ".3f") -> str:
    """Hover text of the interval whose ends are the first two of ``customdata``."""
    return f"(%{{customdata[0]:{precision}}} to %{{customdata[1]:{precision}}})<extra></extra>"


def layer_name(layer: int) -> str:
    """Name of a layer of the residual stream or of a mixer: layer 0 is the embedding, layer l is block l."""
    return f"block {layer}" if layer else "embedding"


_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "{": "&#123;", "$": "&#36;"})


def plain(text: object) -> str:
    """Escape a text so that plotly shows it literally; needed for names that users choose.

    plotly reads tags and entities as markup, ``%{x}`` in hover text as a value, and ``$x$`` as mathematics.
    """
    return str(text).translate(_MARKUP)


def figure(title: str, x: str, y: str) -> go.Figure:
    """An empty figure with a title and axis labels, which are shown literally."""
    texts = {"title": {"text": plain(title)}, "xaxis_title": plain(x), "yaxis_title": plain(y)}
    return go.Figure(layout={"template": TEMPLATE, **texts})


def lines(count: int) -> list[dict]:
    """Colours and dashes of ``count`` compared lines, all different up to 20."""
    colours = islice(cycle(COLOURS), count)
    return [{"color": colour, "width": 2, "dash": DASHES[i // len(COLOURS) % 4]} for i, colour in enumerate(colours)]


def faint(colour: str) -> str:
    """The fill colour of a band around a line of this colour, ``#RRGGBB``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"


def add_band(fig: go.Figure, x, low, high, colour: str, **where) -> None:
    """Fill the band from ``low`` to ``high``; ``where`` is the ``row`` and ``col`` of a subplot."""
    fig.add_scatter(**around(x, low, high, colour), **where)


def around(x, low, high, colour: str) -> dict:
    """Arguments of the scatter trace that ``add_band`` adds."""
    x, low, high = (np.asarray(values) for values in (x, low, high))
    fill = {"fill": "toself", "fillcolor": faint(colour), "line": {"width": 0}, "mode": "lines"}
    outline = {"x": np.concatenate([x, x[::-1]]).tolist(), "y": np.concatenate([high, low[::-1]]).tolist()}
    return {**outline, **fill, "hoverinfo": "skip", "showlegend": False}


def bars(above, below, thickness: float = 1.5) -> dict:
    """Error bars from the distances to the upper and the lower ends of intervals."""
    return {"type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below), "thickness": thickness}


def add_oracle_at_zero(fig: go.Figure, *, vertical: bool = False) -> None:
    """Draw the oracle's line at an excess loss of 0, with a legend entry."""
    line = {"color": ORACLE, "width": 2}
    if vertical:
        fig.add_vline(0.0, line=line)
    else:
        fig.add_hline(0.0, line=line)
    fig.add_scatter(x=[None], y=[None], name="oracle", mode="lines", line=line)
    fig.update_layout(showlegend=True)


def log_foot(values) -> float:
    """The value at which a logarithmic axis draws values that are not positive: half of the smallest positive one."""
    values = np.asarray(values, float)
    return float(values[values > 0].min() / 2) if (values > 0).any() else 1.0


def rounded(values, digits: int = 4) -> list[float | None]:
    """Round to significant digits, which keeps figures small; None replaces nan."""
    return [None if np.isnan(value) else float(f"{value:.{digits}g}") for value in np.asarray(values, float).ravel()]


def reduced(matrix: np.ndarray, max_cells: int = MAX_CELLS) -> tuple[np.ndarray, list[np.ndarray], str]:
    """Average blocks of neighbours until a matrix has at most ``max_cells`` rows and columns.

    Returns:
        the matrix, the mean index of each row and of each column, and a clause for the title with the numbers of rows
        and columns that were averaged, empty if none were.
    """
    matrix, centres, clauses = np.asarray(matrix, float), [], []
    for axis, what in enumerate(("rows", "columns")):
        size = matrix.shape[axis]
        cuts = np.array_split(np.arange(size), min(size, max_cells))
        centres.append(np.array([cut.mean() for cut in cuts]))
        if size > max_cells:
            matrix = np.stack([matrix.take(cut, axis=axis).mean(axis=axis) for cut in cuts], axis=axis)
            clauses.append(f"{size} {what} averaged to {max_cells}")
    return matrix, centres, "; ".join(clauses)


def thinned(*curves: np.ndarray, max_points: int = MAX_POINTS) -> np.ndarray:
    """Points to draw of curves that share an axis: each curve's smallest and largest value in each stretch of the axis.

    Args:
        curves: values at the same points, ``(points,)`` each.
        max_points: number of points at most.

    Returns:
        increasing indices: the first point, the last, and the extremes between them; all points if they are few.
    """
    points = len(curves[0])
    if points <= max_points:
        return np.arange(points)
    parts = max(1, (max_points - 2) // (2 * len(curves)))
    edges = np.linspace(0, points, parts + 1).astype(int)
    indices = [0, points - 1]
    for curve in curves:
        for begin, end in pairwise(edges):
            part = curve[begin:end]
            indices += [begin + int(np.argmin(part)), begin + int(np.argmax(part))]
    return np.unique(indices)
