"""Figures of linear probes: scores by layer, and the belief simplex next to its image in a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from n2n.utils.strict import unknown_name_message
from n2n.viz.style import BASELINE, GRID, ORACLE, TEMPLATE, add_band, bars, ends, layer_name, lines, plain

MEASURES = {"r2": ("R²", 1.0), "kl": ("KL, nats", 0.0)}  # axis label and the oracle's value
_ACROSS = 4  # panels in a row
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
_SHADES = np.array([[0, 114, 178], [230, 159, 0], [0, 158, 115]])  # colours of the corners: blue, amber, green


def probe_curves(table: pd.DataFrame, measure: str = "r2", title: str = "") -> go.Figure:
    """R^2 or KL by layer, with a panel for each latent. Sources of several layers are lines, others are levels.

    Bands are the intervals of levels. A source whose scores are nan has no line.

    Args:
        table: from ``n2n.probes.probe``.
        measure: ``"r2"`` or ``"kl"``.
        title: title of the figure.

    Raises:
        ValueError: an unknown measure, or a table without a source of several layers.
    """
    if measure not in MEASURES:
        raise ValueError(unknown_name_message("measure", measure, MEASURES))
    label, perfect = MEASURES[measure]
    latents = list(dict.fromkeys(table["latent"]))
    across = min(_ACROSS, len(latents))
    down = -(-len(latents) // across)
    fig = make_subplots(
        down, across, subplot_titles=[plain(latent) for latent in latents], shared_yaxes=True, shared_xaxes=True
    )
    sources = list(dict.fromkeys(table["source"]))
    styles = dict(zip(sources, _styles(sources), strict=True))
    layers = sorted(table["layer"].dropna().unique().tolist())
    if not layers:
        raise ValueError(f"table: saw the sources {sources}, none of several layers; at least one is needed")
    for i, latent in enumerate(latents):
        where = {"row": i // across + 1, "col": i % across + 1}
        for source in sources:
            rows = table[(table["latent"] == latent) & (table["source"] == source)]
            if not rows[measure].isna().all():
                if rows["layer"].isna().all():
                    ends = ([rows[f"{measure}_{end}"].iloc[0]] * len(layers) for end in ("low", "high"))
                    add_band(fig, layers, *ends, styles[source]["color"], **where)
                fig.add_scatter(**_line(rows, measure, layers), line=styles[source], showlegend=i == 0, **where)
        oracle = {"name": "the belief itself", "line": {"color": ORACLE, "width": 2}, "legendgroup": "oracle"}
        span = [layers[0], layers[-1]]
        fig.add_scatter(x=span, y=[perfect] * 2, mode="lines", **oracle, showlegend=i == 0, hoverinfo="skip", **where)
    height = 170 + 240 * down
    above = {"yref": "container", "y": 1 - 16 / height, "yanchor": "top"}
    fig.update_layout(
        template=TEMPLATE, title={"text": plain(title), **above}, height=height, margin={"t": 115, "b": 55}
    )
    fig.update_layout(legend={"y": 1 + 30 / (height - 170)})  # above the panels' titles
    fig.update_xaxes(tickvals=layers, ticktext=[layer_name(layer) for layer in layers])
    fig.update_xaxes(title_text="residual stream after", row=down)
    fig.update_yaxes(title_text=label, col=1)
    return fig


def _styles(sources: Sequence[str]) -> list[dict]:
    """A line for each source; the constant is a baseline."""
    styles = iter(lines(len(sources)))
    return [
        {"color": BASELINE, "width": 2, "dash": "dot"} if source == "constant" else next(styles) for source in sources
    ]


def _line(rows: pd.DataFrame, measure: str, layers: list[int]) -> dict:
    """One source in one panel: a line with intervals at each layer, or a level across all layers."""
    source = plain(rows["source"].iloc[0])
    name = {"name": source, "legendgroup": source}
    value, low, high = (rows[column].round(4) for column in (measure, f"{measure}_low", f"{measure}_high"))
    if rows["layer"].isna().all():
        hover = f"{source}: {value.iloc[0]:.3f} ({low.iloc[0]:.3f} to {high.iloc[0]:.3f})<extra></extra>"
        return {"x": layers, "y": [value.iloc[0]] * len(layers), "mode": "lines", "hovertemplate": hover, **name}
    return {
        "x": rows["layer"].tolist(),
        "y": value.tolist(),
        "error_y": bars(high - value, value - low, 1),
        "customdata": [[*ends, layer_name(layer)] for *ends, layer in zip(low, high, rows["layer"], strict=True)],
        "mode": "lines+markers",
        "hovertemplate": f"{source}, %{{customdata[2]}}: %{{y:.3f}} " + ends(),
        **name,
    }


def belief_simplex(belief: np.ndarray, image: np.ndarray, title: str = "") -> go.Figure:
    """Beliefs about three states in their triangle, next to a probe's predictions from a model's residual stream.

    Both points of a pair have the colour of the belief, a mixture of the corners' colours.

    Args:
        belief: ``(points, 3)``, distributions.
        image: ``(points, 3)``, their predictions, which may lie outside the triangle.
        title: title of the figure.

    Raises:
        ValueError: arrays of other shapes.
    """
    if belief.ndim != 2 or belief.shape[1] != 3 or image.shape != belief.shape:
        raise ValueError(f"saw shapes {belief.shape} and {image.shape}; (points, 3) of both is needed")
    fig = make_subplots(1, 2, subplot_titles=("belief of the oracle", "its linear image in the model"))
    shades = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in np.round(belief @ _SHADES).astype(int)]
    for column, points in enumerate((belief, image), start=1):
        edge = _CORNERS[[0, 1, 2, 0]]
        outline = {"mode": "lines", "line": {"color": GRID, "width": 2}, "hoverinfo": "skip"}
        fig.add_scatter(x=edge[:, 0].tolist(), y=edge[:, 1].tolist(), **outline, row=1, col=column)
        places = (points @ _CORNERS).round(4)
        texts = ["P = " + ", ".join(f"{value:.2f}" for value in point) for point in points]
        dots = {"mode": "markers", "marker": {"color": shades, "size": 3}, "hovertext": texts, "hoverinfo": "text"}
        x, y = places.T.tolist()
        fig.add_scatter(x=x, y=y, **dots, row=1, col=column)
    fig.update_layout(
        template=TEMPLATE, title={"text": plain(title)}, showlegend=False, height=470, margin={"t": 85, "b": 10}
    )
    fig.update_xaxes(visible=False, range=[-0.08, 1.08])
    fig.update_yaxes(visible=False, range=[-0.1, 1.0])
    for column, suffix in ((1, ""), (2, "2")):
        fig.update_yaxes(scaleanchor=f"x{suffix}", col=column)
        for state, (x, y) in enumerate(_CORNERS):
            beyond = {"yanchor": "bottom" if y else "top", "showarrow": False}
            fig.add_annotation(x=x, y=y, text=f"state {state}", row=1, col=column, **beyond)
    return fig
