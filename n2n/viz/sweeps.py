"""Many runs side by side."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from n2n.utils.statistics import Z95
from n2n.viz.style import EXCESS, MODEL, add_oracle_at_zero, figure, plain


def excess_by_run(table: pd.DataFrame) -> go.Figure:
    """Held-out excess loss of each run of ``n2n.runs.table`` with its 95% interval; the oracle is the line at 0.

    Raises:
        ValueError: no run of the table was evaluated.
    """
    found = table.dropna(subset=["excess_loss"]) if "excess_loss" in table else table.iloc[:0]
    if found.empty:
        raise ValueError("no run of the table was evaluated yet")
    missing = len(table) - len(found)
    title = "Excess loss, held out, with 95% intervals" + (f"; {missing} without one" if missing else "")
    fig = figure(title, EXCESS, "")
    half = Z95 * found["excess_se"]
    add_oracle_at_zero(fig, vertical=True)
    fig.add_scatter(
        x=found["excess_loss"].tolist(),
        y=[plain(name) for name in found.index],
        error_x={"type": "data", "array": half.tolist(), "thickness": 1.5},
        customdata=half.tolist(),
        mode="markers",
        marker={"color": MODEL, "size": 9},
        name="runs",
        hovertemplate="%{y}<br>%{x:.4f} ± %{customdata:.4f} nats per token<extra></extra>",
    )
    fig.update_layout(height=180 + 28 * len(found), xaxis={"rangemode": "tozero"})
    fig.update_yaxes(automargin=True, autorange="reversed", type="category")
    return fig
