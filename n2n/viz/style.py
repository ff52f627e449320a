"""The look that all figures share."""

from __future__ import annotations

import plotly.graph_objects as go

# Okabe and Ito's palette, told apart by the colour-blind (jfly.uni-koeln.de/color, 2008).
MODEL, ORACLE, BASELINE, ACCENT = "#0072B2", "#D55E00", "#7F7F7F", "#009E73"
BAND = "rgba(0, 114, 178, 0.2)"
GRID = "rgba(127, 127, 127, 0.25)"

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": "#444444"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 30, "t": 60, "b": 60},
        "height": 400,
        "title": {"x": 0.0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
        "legend": {"orientation": "h", "x": 0.0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
        "xaxis": {"gridcolor": GRID, "linecolor": GRID, "ticks": "outside", "tickcolor": GRID, "zeroline": False},
        "yaxis": {"gridcolor": GRID, "linecolor": GRID, "ticks": "outside", "tickcolor": GRID, "zeroline": False},
    }
)


def figure(title: str, x: str, y: str) -> go.Figure:
    """An empty figure with a title and named axes."""
    return go.Figure(layout={"template": TEMPLATE, "title": {"text": title}, "xaxis_title": x, "yaxis_title": y})
