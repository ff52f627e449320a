"""A run's loss beside the oracle's: while it learned, and by position at the end."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from n2n.runs import Z95, Run
from n2n.viz.style import BASELINE, EXCESS, MODEL, NATS, ORACLE, add_band, add_oracle_at_zero, figure
from n2n.viz.thinning import thinned


def learning_curve(run: Run) -> go.Figure:
    """Training loss and the oracle's on the same batches, by step; the baselines dotted, once the run was evaluated.

    Of a long run some 2,000 logged steps are drawn, among them the least and the largest loss of every stretch.
    """
    rows = run.metrics
    if rows.empty:
        raise ValueError(f"{run.path} has no logged step yet; its state is {run.status['state']!r}")
    rows = rows.iloc[thinned(rows["loss"].to_numpy(), rows["oracle_nll"].to_numpy())]
    fig = figure(f"{_name(run)}: loss on each logged training batch", "step", f"loss, {NATS}")
    for column, name, colour in (("loss", run.config.arch, MODEL), ("oracle_nll", "oracle", ORACLE)):
        hover = f"{name}: %{{y:.3f}}<extra></extra>"
        line = {"color": colour, "width": 2}
        fig.add_scatter(x=rows["step"], y=rows[column], name=name, mode="lines", line=line, hovertemplate=hover)
    for baseline, found in ((name, run.evaluation) for name in ("unigram", "bigram") if run.evaluations):
        fig.add_hline(found[baseline], line={"color": BASELINE, "dash": "dot", "width": 1.5})
        label = {"text": baseline, "x": 1.0, "xref": "paper", "y": found[baseline], "font": {"color": BASELINE}}
        fig.add_annotation(**label, xanchor="right", yanchor="bottom", showarrow=False)
    fig.update_layout(hovermode="x unified", xaxis={"unifiedhovertitle": {"text": "step %{x}"}})
    return fig


def excess_by_position(run: Run) -> go.Figure:
    """Held-out excess loss at each position, with a pointwise 95% band; the oracle is the line at 0."""
    found = run.evaluation
    mean, half = np.array(found["excess_by_position"]), Z95 * np.array(found["excess_se_by_position"])
    position = np.arange(1, len(mean) + 1)
    title = f"{_name(run)}: excess loss on {found['sequences']} {found['split']} sequences, mean and 95% band"
    fig = figure(title, "position t of the predicted token", EXCESS)
    add_band(fig, position, mean - half, mean + half, MODEL)
    fig.add_scatter(
        x=position,
        y=mean,
        customdata=half,
        name=run.config.arch,
        mode="lines",
        line={"color": MODEL, "width": 2},
        hovertemplate="position %{x}: %{y:.3f} ± %{customdata:.3f}<extra></extra>",
    )
    add_oracle_at_zero(fig)
    fig.update_yaxes(rangemode="tozero")
    return fig


def _name(run: Run) -> str:
    return f"{run.config.graph.name or 'graph'}, {run.config.arch}"
