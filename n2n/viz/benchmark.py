"""Figures of benchmarks: cost of the oracle against the number of joint latent states."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from n2n.viz.style import BASELINE, ORACLE, figure

LINES = (("filter, ms", "n2n's factored filter", ORACLE), ("textbook, ms", "textbook, flattened", BASELINE))


def cost_growth(table: pd.DataFrame) -> go.Figure:
    """Time per token and sequence against S on logarithmic axes.

    Args:
        table: from ``n2n.benchmark.growth_table``.
    """
    fig = figure(
        "Exact inference: cost against the number of joint states", "joint latent states S", "ms per token per sequence"
    )
    for column, name, colour in LINES:
        rows = table.dropna(subset=[column])
        style = {"mode": "lines+markers", "line": {"color": colour}, "name": name}
        hover = f"{name}<br>S = %{{x:,}}<br>%{{y:.3g}} ms<extra></extra>"
        fig.add_scatter(x=rows["S"].tolist(), y=rows[column].tolist(), **style, hovertemplate=hover)
    fig.update_xaxes(type="log", dtick=1)
    fig.update_yaxes(type="log", dtick=1)
    return fig
